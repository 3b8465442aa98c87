"""Where a compiled form first differs from the source model: the function, its node, and the source's node.

The outputs of source nodes are asked for one at a time, as an extra output of the source model, and compared with
the values that came from the same source node in the compiled form. Nothing else is kept, so the memory is that of
one run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import torch

from artifacts.checks import Tolerances
from artifacts.dtype import DType
from artifacts.errors import RunError
from artifacts.manifest import EngineEntry
from artifacts.samples import Arrays, Sample
from artifacts.tolerances import compare
from artifacts.weights import WeightStore
from compiler.node_origins import origin_of
from compiler.source_runner import SourceRunner
from passes.bisection import Verdict, first_moved
from passes.interpreter import run_function
from passes.onnx_to_torch.constant_nodes import label_of
from passes.onnx_to_torch.importer import INSIDE
from passes.onnx_to_torch.source import Source
from passes.program import Function
from passes.torch_dtypes import from_numpy, to_numpy

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Moved:
    """The first node that differs: where it is, its own name there, and the source node that it came from."""

    where: str
    node: str
    source_node: str

    def __str__(self) -> str:
        return f"; first moved in {self.where} at node {self.node!r} (source node {self.source_node!r})"


def locate_in_function(
    source: Source, function: Function, weights: WeightStore, sample: Sample, tolerances: Tolerances
) -> Moved | None:
    """The first node of a function whose value is not its source node's; None if none can be told."""
    nodes: dict[str, list[str]] = defaultdict(list)
    for node in function.computations:
        if isinstance(node.meta.get("val"), torch.Tensor) and node.name in function.sources:
            nodes[_outermost(function.sources[node.name])].append(node.name)
    inputs = [from_numpy(sample.inputs[spec.name], spec.dtype) for spec in function.signature.inputs]

    def values(names: list[str]) -> Iterator[tuple[str, Array]]:
        wanted = set(names)
        kept: list[tuple[str, Array]] = []

        def keep(node: torch.fx.Node, value: object) -> None:
            if node.name in wanted and isinstance(value, torch.Tensor):
                kept.append((node.name, to_numpy(value)))

        run_function(function, weights, inputs, keep)
        return iter(kept)

    return _locate(source, sample, tolerances, nodes, values, f"function {function.name!r}")


def locate_in_engine(
    source: Source, root: Path, engine: EngineEntry, sample: Sample, tolerances: Tolerances
) -> Moved | None:
    """The first node of an ONNX engine whose value is not its source node's; None if none can be told.

    Nothing is told of an engine whose source is not ONNX.
    """
    if not engine.source.endswith(".onnx"):
        return None
    model = onnx.load_model(root / engine.source, load_external_data=False)
    nodes: dict[str, list[str]] = defaultdict(list)
    for node in model.graph.node:
        if origin := origin_of(node):
            nodes[_outermost(origin)].append(node.output[0])
    runner = SourceRunner(root / engine.source, data_folder=root)
    inputs = {spec.name: sample.inputs[spec.name] for spec in engine.signature.inputs}

    def values(names: list[str]) -> Iterator[tuple[str, Array]]:
        return ((name, runner.value(name, inputs)) for name in names)

    return _locate(source, sample, tolerances, nodes, values, f"engine {engine.source!r}")


def _locate(
    source: Source,
    sample: Sample,
    tolerances: Tolerances,
    nodes: Mapping[str, list[str]],
    values: Callable[[list[str]], Iterator[tuple[str, Array]]],
    where: str,
) -> Moved | None:
    try:
        runner = SourceRunner(source.path, data_folder=source.data_folder).opened()
    except RunError:  # operators that ONNX Runtime does not have: the user gave the answers
        return None
    order = [node for node in source.model.graph if label_of(node) in nodes]
    by_label = {label_of(node): node for node in order}

    def moved(label: str) -> Verdict:
        return _compare(_outputs(runner, by_label[label], sample.inputs), values(nodes[label]), tolerances)

    def inputs_of(label: str) -> Iterator[str]:
        producers = (value.producer() for value in by_label[label].inputs if value is not None)
        return (label_of(p) for p in producers if p is not None and label_of(p) in by_label)

    found = first_moved(list(by_label), moved, inputs_of)
    return None if found is None else Moved(where, nodes[found][-1], found)


def _outputs(runner: SourceRunner, node: ir.Node, inputs: Arrays) -> list[Array]:
    found = []
    for output in node.outputs:
        if output.name:
            try:
                found.append(runner.value(output.name, inputs))
            except RunError:  # an output that is no tensor, or that nothing computes
                continue
    return found


def _compare(expected: list[Array], actual: Iterator[tuple[str, Array]], tolerances: Tolerances) -> Verdict:
    """Whether a source node's outputs are among the values that came from it; None if nothing compares.

    A node may become several. The last one of the right type and shape is the result of a node with one output;
    of a node with several any of them may be.
    """
    values = [value for _, value in actual]
    verdict: Verdict = None
    for output in expected:
        alike = [value for value in values if value.shape == output.shape and value.dtype == output.dtype]
        if not alike:
            continue
        tolerance = tolerances.for_dtype(DType.of(output.dtype))
        candidates = alike if len(expected) > 1 else alike[-1:]
        if not any(compare(output, value, tolerance).passed for value in candidates):
            return True
        verdict = False
    return verdict


def _outermost(source: str) -> str:
    """The node of the main graph: what lies inside a function it calls has both labels."""
    return source.split(INSIDE, maxsplit=1)[0]
