"""Hold a Program to its source models, on the samples and in the source's own inputs and outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import torch

from artifacts.checks import OutputCheck, Tolerances, check_decoded, check_outputs
from artifacts.samples import Sample
from artifacts.schedule import Single
from artifacts.tolerances import compare
from passes.decode import greedy, positions_to_check, teacher_forced
from passes.interpreter import call, run_function
from passes.program import Function, Model, Program
from passes.torch_dtypes import from_numpy, logical_dtype

SKETCH = 1024
"""Elements of a node's value that are kept to find the first node that moved."""


def check_program(program: Program, tolerances: Tolerances) -> tuple[OutputCheck, ...]:
    """Compare every model with its samples, in the interpreter."""
    return tuple(
        check
        for name, model in program.models.items()
        for number, sample in enumerate(model.samples)
        for check in _check_sample(program, name, model, number, sample, tolerances)
    )


def _check_sample(
    program: Program, name: str, model: Model, number: int, sample: Sample, tolerances: Tolerances
) -> Iterator[OutputCheck]:
    if isinstance(model.schedule, Single):
        actual = call(program, model.schedule.function, sample.inputs)
        yield from check_outputs(name, model.signature, number, sample, actual, tolerances)
        return
    schedule = model.schedule
    tokens = np.asarray(sample.inputs[schedule.tokens], np.int64)
    positions = positions_to_check(schedule, tokens.shape[1])
    scores = teacher_forced(program, schedule, sample.inputs, tokens, positions)
    expected = sample.outputs[schedule.logits][:, list(positions)]
    dtype = model.signature.output(schedule.logits).dtype
    yield OutputCheck(name, number, schedule.logits, compare(expected, scores, tolerances.for_dtype(dtype), dtype))
    # Interpreting a decode is slow and later samples differ in sizes only; the engines decode all of them.
    if sample.decoded and number == 0:
        batch, limit = sample.decoded["tokens"].shape
        decoded = greedy(program, schedule, sample.inputs, batch, limit)
        yield from check_decoded(name, number, sample, decoded)


def first_moved_node(before: Program, after: Program, model: str, sample: Sample, tolerances: Tolerances) -> str:
    """Name the first node whose value a pass moved, by the names that both programs share; "" if none did.

    Of every value at most SKETCH evenly spread elements are kept, so the memory is bounded by the number of
    nodes and not by their sizes. Only functions that can be called with the sample's own inputs are searched.
    """
    for name in after.models[model].schedule.functions:
        old, new = before.functions.get(name), after.functions[name]
        if old is None or any(spec.name not in sample.inputs for spec in new.signature.inputs):
            continue
        node = _first_difference(_sketches(before, old, sample), _sketches(after, new, sample), new, tolerances)
        if node is not None:
            source = new.sources.get(node) or old.sources.get(node)
            return f"; first moved in function {name!r} at node {node!r}" + (
                f" (source node {source!r})" if source else ""
            )
    return ""


def _sketches(program: Program, function: Function, sample: Sample) -> dict[str, npt.NDArray[np.float64]]:
    found: dict[str, npt.NDArray[np.float64]] = {}

    def keep(node: torch.fx.Node, value: object) -> None:
        if node.op == "call_function" and isinstance(value, torch.Tensor) and not value.is_complex():
            flat = value.reshape(-1)
            step = max(1, -(-flat.numel() // SKETCH))
            found[node.name] = flat[::step].to(torch.float64).numpy()

    inputs = [from_numpy(sample.inputs[spec.name], spec.dtype) for spec in function.signature.inputs]
    run_function(function, program.weights, inputs, keep)
    return found


def _first_difference(
    before: Mapping[str, npt.NDArray[np.float64]],
    after: Mapping[str, npt.NDArray[np.float64]],
    function: Function,
    tolerances: Tolerances,
) -> str | None:
    for node in function.computations:
        if node.name not in before or node.name not in after:
            continue
        tolerance = tolerances.for_dtype(logical_dtype(node.meta["val"].dtype))
        if not compare(before[node.name], after[node.name], tolerance).passed:
            return node.name
    return None
