"""Hold a Program to its source models, on the samples and in the source's own inputs and outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from artifacts.dtype import DType
from artifacts.errors import NumericsError, Problem
from artifacts.schedule import Decode, Single
from artifacts.tolerances import Comparison, Tolerance, compare, tolerance_for
from passes.decode import positions_to_check, teacher_forced
from passes.interpreter import call, run_function
from passes.program import Function, Model, Program, Sample
from passes.torch_dtypes import from_numpy

SKETCH = 1024
"""Elements of a node's value that are kept to find the first node that moved."""


@dataclass(frozen=True)
class Tolerances:
    """Which tolerance an element type has: the table of artifacts/tolerances.py, with overrides on top."""

    overrides: tuple[tuple[DType, Tolerance], ...] = ()

    def of(self, dtype: DType) -> Tolerance:
        """The tolerance of one element type."""
        return dict(self.overrides).get(dtype) or tolerance_for(dtype)


@dataclass(frozen=True)
class OutputCheck:
    """One output of one sample of one model, compared with the source's."""

    model: str
    sample: int
    output: str
    comparison: Comparison


def check_program(program: Program, tolerances: Tolerances) -> tuple[OutputCheck, ...]:
    """Compare every model with its samples, in the interpreter."""
    return tuple(
        check
        for name, model in program.models.items()
        for number, sample in enumerate(model.samples)
        for check in _check_sample(program, name, model, number, sample, tolerances)
    )


def require_equal(checks: tuple[OutputCheck, ...], stage: str, after: str, detail: str = "") -> None:
    """Raise NumericsError with every output that moved past its tolerance. `detail` says where it began."""
    NumericsError.raise_if(
        Problem(
            stage,
            f"{check.model}: output {check.output!r}, sample {check.sample}",
            f"differs from the source model after {after}: {check.comparison}{detail}",
            f"tolerances {check.comparison.required:.3g} times as wide would pass (--atol, --rtol)",
        )
        for check in checks
        if not check.comparison.passed
    )


def _check_sample(
    program: Program, name: str, model: Model, number: int, sample: Sample, tolerances: Tolerances
) -> Iterator[OutputCheck]:
    schedule = model.schedule
    if isinstance(schedule, Single):
        actual = call(program, schedule.function, sample.inputs)
        expected = dict(sample.outputs)
    else:
        actual, expected = _decoded(program, schedule, sample)
    for spec in model.signature.outputs:
        if spec.name in actual:
            found = compare(expected[spec.name], actual[spec.name], tolerances.of(spec.dtype), spec.dtype)
            yield OutputCheck(name, number, spec.name, found)


def _decoded(
    program: Program, schedule: Decode, sample: Sample
) -> tuple[dict[str, npt.NDArray[np.generic]], dict[str, npt.NDArray[np.generic]]]:
    tokens = np.asarray(sample.inputs[schedule.tokens], np.int64)
    positions = positions_to_check(schedule, tokens.shape[1])
    actual = teacher_forced(program, schedule, sample.inputs, tokens, positions)
    return {schedule.logits: actual}, {schedule.logits: sample.outputs[schedule.logits][:, list(positions)]}


def first_moved_node(before: Program, after: Program, model: str, sample: Sample, tolerances: Tolerances) -> str:
    """Name the first node whose value a pass moved, by the names that both programs share; "" if none did.

    Of every value at most SKETCH evenly spread elements are kept, so the memory is bounded by the number of
    nodes and not by their sizes. Only functions that can be called with the sample's own inputs are searched.
    """
    for name in after.models[model].schedule.functions:
        old, new = before.functions.get(name), after.functions[name]
        if old is None or any(spec.name not in sample.inputs for spec in new.signature.inputs):
            continue
        node = _first_difference(_sketches(before, old, sample), _sketches(after, new, sample), tolerances)
        if node is not None:
            source = new.sources.get(node) or old.sources.get(node)
            return f"; first moved in function {name!r} at node {node!r}" + (f" (source node {source!r})" if source else "")
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
    before: Mapping[str, npt.NDArray[np.float64]], after: Mapping[str, npt.NDArray[np.float64]], tolerances: Tolerances
) -> str | None:
    tolerance = tolerances.of(DType.FLOAT32)
    for name, value in after.items():
        if name in before and not compare(before[name], value, tolerance).passed:
            return name
    return None
