"""Store one copy of what several weights hold: of runs of rows, of transposes, and of exact casts if asked.

Equal contents are one in the store, whoever uses them. What is left are contents that hold the same elements in
other bytes, or the same bytes as a part of more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from artifacts.weights import WeightRef
from passes.bodies import copied_graph, rewritten, weight_placeholder
from passes.contract import Pass, Rewrite
from passes.program import Function, Program
from passes.turned_weights import TurnedReads, turned_reads, with_turned
from passes.weight_runs import find_runs
from passes.weight_twins import cast_pairs, turned_pairs

_aten = torch.ops.aten

SHOWN_NAMES = 3
"""Names in a note; how many more there are is said as a number."""


@dataclass(frozen=True)
class DeduplicateWeights(Pass):
    """embed [V, d], head = embed^T [d, V], table = embed[8:]  ->  embed, read turned and from row 8 on.

    Contents of up to `least` bytes are left: a reference takes about as much. A matrix is read turned where only
    products use it. Weights that are equal after an exact cast are told, and with `merge_casts` the narrower one is
    stored and cast where the wider one is used.
    """

    name: ClassVar[str] = "deduplicate-weights"
    least: int = 1024
    merge_casts: bool = False

    def rewrite(self, program: Program) -> Rewrite:
        notes: list[str] = []
        program = _with_runs(program, self.least, notes)
        program = _with_turns(program, self.least, notes)
        program = _with_casts(program, self.least, self.merge_casts, notes)
        return Rewrite(program, tuple(notes))


def _with_runs(program: Program, least: int, notes: list[str]) -> Program:
    """The program with references into larger contents in place of those that lie in them."""
    refs = [ref for ref in _refs(program) if program.weights.blobs[ref.digest].nbytes > least]
    contents = {ref.digest: program.weights.blobs[ref.digest] for ref in refs}
    widths: Counter[str] = Counter()
    for ref in refs:
        widths[ref.digest] = max(widths[ref.digest], ref.dtype.numpy.itemsize)
    runs = find_runs(contents, widths)

    def moved(ref: WeightRef) -> WeightRef:
        run = runs.get(ref.digest)
        if run is None:
            return ref
        return ref.model_copy(update={"digest": run.digest, "offset": run.offset + ref.offset})

    functions = {
        name: replace(function, weights={node: moved(ref) for node, ref in function.weights.items()})
        for name, function in program.functions.items()
        if any(ref.digest in runs for ref in function.weights.values())
    }
    inside = [ref for ref in dict.fromkeys(refs) if ref.digest in runs]
    _tell(notes, "parts of larger contents, stored there", inside, program)
    return program.with_functions(functions)


def _with_turns(program: Program, least: int, notes: list[str]) -> Program:
    """The program with one of each matrix and its transpose, where one of them can be read turned."""
    before, merged, left = program, [], []
    for first, second in turned_pairs(_large(program, least), program.weights):
        if not {first, second} <= set(_refs(program)):
            continue
        uses = {
            ref: sum((turned_reads(f, ref) for f in program.functions.values()), TurnedReads())
            for ref in (first, second)
        }
        free = [ref for ref in (second, first) if not uses[ref].fixed and _is_alone(ref, program)]
        if not free:
            left.append(second)
            continue
        # What reads a matrix as it is stored is as fast or faster: as few products as can be are turned.
        dropped = min(free, key=lambda ref: uses[ref].products - uses[ref].others)
        kept = second if dropped == first else first
        program = program.with_functions({n: with_turned(f, dropped, kept) for n, f in program.functions.items()})
        merged.append(dropped)
    _tell(notes, "transposes of another, which is read turned", merged, before)
    _tell(notes, "transposes of another, both stored because more than products use them", left, before)
    return program


def _with_casts(program: Program, least: int, merge: bool, notes: list[str]) -> Program:
    """The program with the narrower of two weights that are equal after a cast, if they are to be merged."""
    pairs = cast_pairs(_large(program, least), program.weights)
    mergeable = {wide: narrow for wide, narrow in pairs if merge and _is_alone(wide, program)}
    _tell(notes, "exact casts of a narrower one, cast where they are used", list(mergeable), program)
    left = [wide for wide, _ in pairs if wide not in mergeable]
    _tell(notes, "exact casts of a narrower one, both stored", left, program)
    return program.with_functions({name: _casting(f, mergeable) for name, f in program.functions.items()})


def _casting(function: Function, narrower: Mapping[WeightRef, WeightRef]) -> Function:
    wide = [node for node in function.weight_nodes if function.weights[node.name] in narrower and node.users]
    if not wide:
        return function
    graph, new = copied_graph(function.body)
    weights, sources = dict(function.weights), dict(function.sources)
    first = next(node for node in graph.nodes if node.op != "placeholder")
    for node in wide:
        narrow, value = narrower[weights[node.name]], node.meta["val"]
        ref = narrow.reshaped(tuple(value.shape))
        stored = weight_placeholder(graph, weights, f"{node.name}_narrow", ref, node)
        with graph.inserting_before(first):
            cast = graph.call_function(_aten.to.dtype, (stored, value.dtype))
        cast.meta["val"] = value
        new[node].replace_all_uses_with(cast)
        if node.name in sources:
            sources.setdefault(stored.name, sources[node.name])
    return rewritten(function, graph, weights, sources)


def _refs(program: Program) -> list[WeightRef]:
    """Every reference of the functions, each once, in order."""
    return list(dict.fromkeys(ref for f in program.functions.values() for ref in f.weights.values()))


def _large(program: Program, least: int) -> list[WeightRef]:
    return [ref for ref in _refs(program) if ref.nbytes > least]


def _is_alone(ref: WeightRef, program: Program) -> bool:
    """True if a content is shown by this reference, whole, and by no other: then it goes with it."""
    whole = ref.nbytes == program.weights.blobs[ref.digest].nbytes
    return whole and all(other == ref for other in _refs(program) if other.digest == ref.digest)


def _tell(notes: list[str], what: str, refs: Sequence[WeightRef], program: Program) -> None:
    """Add a note on these weights, if there are any: how many, their bytes, and the names of some."""
    if not refs:
        return
    named: dict[WeightRef, str] = {}
    for function in program.functions.values():
        for node, ref in function.weights.items():
            named.setdefault(ref, function.sources.get(node, node))
    names = ", ".join(named[ref] for ref in refs[:SHOWN_NAMES])
    more = f" and {len(refs) - SHOWN_NAMES} more" if len(refs) > SHOWN_NAMES else ""
    notes.append(f"{what}: {len(refs)} of {sum(ref.nbytes for ref in refs)} bytes ({names}{more})")
