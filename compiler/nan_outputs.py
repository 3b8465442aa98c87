"""Outputs of the source that are not a number: a comparison with them says nothing, so the user has to know."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from artifacts.errors import Problem, RunError, SourceError
from artifacts.samples import Array, Sample
from compiler.source_runner import SourceRunner
from passes.bisection import Verdict, first_moved
from passes.onnx_to_torch.constant_nodes import label_of
from passes.onnx_to_torch.source import Source
from passes.program import Model


def nan_notices(source: Source, model: Model) -> tuple[str, ...]:
    """A notice for each output that holds NaN in some sample, with the node that NaN comes from.

    Raises SourceError naming every output that is NaN throughout in all samples: nothing would be verified.
    """
    held = {
        name: [sample for sample in model.samples if _has_nan(sample.outputs[name])]
        for name in model.samples[0].outputs
    }
    SourceError.raise_if(
        Problem(
            "samples",
            f"output {name!r}",
            f"is NaN throughout, in every sample{_origin(source, name, samples[0])}",
            "repair the model, or give inputs that it has numbers for with --samples",
        )
        for name, samples in held.items()
        if samples and all(np.isnan(sample.outputs[name]).all() for sample in model.samples)
    )
    return tuple(
        f"output {name!r} holds NaN in {len(samples)} of {len(model.samples)} samples"
        f"{_origin(source, name, samples[0])}: give inputs of your own with --samples if that should not be"
        for name, samples in held.items()
        if samples
    )


def _origin(source: Source, output: str, sample: Sample) -> str:
    """The first node with NaN on the way to an output, and its weights that hold NaN; "" if it cannot be told."""
    nodes = list(source.model.graph)
    last = next((n for n, node in enumerate(nodes) if any(value.name == output for value in node.outputs)), None)
    if last is None:
        return ""
    by_label = {label_of(node): node for node in nodes[: last + 1]}
    try:
        runner = SourceRunner(source.path).opened()
    except RunError:  # operators that ONNX Runtime does not have: the user gave the answers
        return ""

    def moved(label: str) -> Verdict:
        found = [_has_nan(array) for array in _values(runner, by_label[label], sample)]
        return any(found) if found else None

    def inputs_of(label: str) -> Iterator[str]:
        producers = (value.producer() for value in by_label[label].inputs if value is not None)
        return (label_of(producer) for producer in producers if producer is not None)

    found = first_moved(list(by_label), moved, lambda label: filter(by_label.__contains__, inputs_of(label)))
    runner.close()
    if found is None:
        return ""
    weights = [
        f"{value.name!r}"
        for value in by_label[found].inputs
        if value is not None and value.const_value is not None and _has_nan(value.const_value.numpy())
    ]
    return f", first at node {found!r}" + (f", whose weight {', '.join(weights)} holds NaN" if weights else "")


def _values(runner: SourceRunner, node: ir.Node, sample: Sample) -> Iterator[Array]:
    for output in node.outputs:
        if output.name:
            try:
                yield runner.value(output.name, sample.inputs)
            except RunError:  # an output that is no tensor
                continue


def _has_nan(array: Array) -> bool:
    return array.dtype.kind in "fc" and bool(np.isnan(array).any())
