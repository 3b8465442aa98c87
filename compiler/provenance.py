"""Where every stored weight comes from: it is what a source file holds, byte for byte, or a pass made it.

No pass has to tell. What the source files hold is known by digest, and so is what the functions use before and after
each pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from artifacts.report import DerivedWeights, WeightsReport
from artifacts.weights import WeightStore
from passes.constant_results import constant_results
from passes.deduplicate_weights import DeduplicateWeights
from passes.onnx_to_torch.constant_nodes import constant_tensors
from passes.onnx_to_torch.tensors import dtype_of
from passes.pipeline import PassRun
from passes.program import Program

CONVERSION = "convert"
"""The reason of what is neither in a source file nor made by a pass: the converter computed it from the graph."""

SHOWN_NAMES = 3
"""Names of derived weights in a report, for each reason."""


@dataclass(frozen=True)
class SourceTensors:
    """The tensors of one source: bytes of all of them as the file has them, and how many hold each stored content."""

    nbytes: int
    holders: Mapping[str, int]


def source_tensors(model: ir.Model, store: WeightStore) -> SourceTensors:
    """What a source holds of the contents in a store, its initializers and constants, those of subgraphs too.

    A tensor is hashed only if a content has its size and is not the same memory.
    """
    places = {(data.ctypes.data, data.nbytes): digest for digest, data in store.blobs.items()}
    sizes = {data.nbytes for data in store.blobs.values()}
    holders: Counter[str] = Counter()
    tensors = {id(tensor): tensor for tensor in constant_tensors(model)}.values()
    for tensor in tensors:
        if tensor.dtype == ir.DataType.STRING:
            continue
        dtype = dtype_of(tensor.dtype, tensor.name or "a constant")
        if tensor.size * dtype.numpy.itemsize not in sizes:
            continue
        array = tensor.numpy()
        digest = places.get((array.ctypes.data, array.nbytes)) if array.flags.c_contiguous else None
        if digest is None:
            digest = WeightStore().with_tensor(array, dtype)[1].digest
        if digest in store:
            holders[digest] += 1
    return SourceTensors(sum(tensor.nbytes for tensor in tensors), holders)


def weights_report(program: Program, sources: Sequence[SourceTensors], runs: Sequence[PassRun]) -> WeightsReport:
    """What the store saved, and the reason of each weight that no source file holds."""
    used = _used_contents(program)
    held = _holders(sources)
    absorbed = {d for run in runs if run.step.name == DeduplicateWeights.name for d in run.dropped if d in held}
    derived: dict[str, list[str]] = {}
    for digest, reason in derivations(program, sources, runs).items():
        derived.setdefault(reason, []).append(digest)
    return WeightsReport(
        source_bytes=sum(source.nbytes for source in sources),
        unique_bytes=sum(program.weights.blobs[digest].nbytes for digest in used),
        merged=held.total() - len(held) + len(absorbed - used.keys()),
        derived_bytes=sum(program.weights.blobs[d].nbytes for digests in derived.values() for d in digests),
        derived=tuple(
            _entry(reason, [(used[d], program.weights.blobs[d].nbytes) for d in digests])
            for reason, digests in sorted(derived.items())
        ),
        computed_at_open=_computed_at_open(program),
    )


def derivations(program: Program, sources: Sequence[SourceTensors], runs: Sequence[PassRun]) -> dict[str, str]:
    """The contents that no source tensor has, and what made each: the last pass before which nothing used it."""
    held = _holders(sources)
    reasons = {digest: run.step.name for run in runs for digest in run.made}
    return {digest: reasons.get(digest, CONVERSION) for digest in _used_contents(program) if digest not in held}


def _holders(sources: Sequence[SourceTensors]) -> Counter[str]:
    return sum((Counter(source.holders) for source in sources), Counter[str]())


def _used_contents(program: Program) -> dict[str, str]:
    """The contents that the functions refer to, each with the source's name of it or a placeholder's."""
    found: dict[str, str] = {}
    for _, function in sorted(program.functions.items()):
        for node, ref in function.weights.items():
            found.setdefault(ref.digest, function.sources.get(node, node))
    return found


def _computed_at_open(program: Program) -> tuple[DerivedWeights, ...]:
    """What an engine makes of weights alone when it opens, by operator."""
    found: dict[str, list[tuple[str, int]]] = {}
    for _, function in sorted(program.functions.items()):
        for node, nbytes in constant_results(function).items():
            operator = getattr(node.target, "__name__", str(node.target)).split(".")[0]
            found.setdefault(operator, []).append((function.sources.get(node.name, node.name), nbytes))
    return tuple(_entry(operator, results) for operator, results in sorted(found.items()))


def _entry(reason: str, weights: Iterable[tuple[str, int]]) -> DerivedWeights:
    named = list(weights)
    return DerivedWeights(
        reason=reason,
        tensors=len(named),
        bytes=sum(nbytes for _, nbytes in named),
        names=tuple(name for name, _ in named[:SHOWN_NAMES]),
    )
