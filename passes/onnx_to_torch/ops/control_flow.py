"""If, Loop, Scan, SequenceMap: branches are chosen and loops unrolled where that is known beforehand.

Of an If that is not known both branches are traced; a loop that is not known is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

import numpy as np
import onnx_ir as ir
import torch
from torch.fx.experimental.symbolic_shapes import guarding_hint_or_throw, has_guarding_hint

from artifacts.errors import SourceError, UnsupportedError
from passes.onnx_to_torch.branches import UnlikeBranchesError
from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.captures import rebuilt, tensors_in
from passes.onnx_to_torch.known_math import Bool, logical_not, numbers, resolved, truth
from passes.onnx_to_torch.registry import EVERY, op
from passes.onnx_to_torch.requirements import require
from passes.onnx_to_torch.tensors import torch_dtype
from passes.onnx_to_torch.values import Known, Value, to_known, to_tensor

_LONGEST_LOOP = 1024
"""Iterations that are unrolled: beyond, the program would be nothing but copies of the loop's body."""


@op("If", 1, 11, 13, 16, 19, 21, 23, 24, 25, either=(0,))
def if_(call: Call, condition: torch.Tensor | Known) -> tuple[Value, ...]:
    """One branch where the condition is known; both, as torch.cond, where it is not and they are alike.

    Of unlike branches (a squeeze in one, say) the one that the sample takes is followed; its results pass through
    `unspool::require`, because they are right only where the condition is as it is for the sample.
    """
    branches = (call.attr_graph("then_branch"), call.attr_graph("else_branch"))
    holds = _condition(condition)
    if isinstance(holds, bool):
        return tuple(call.run_graph(branches[0 if holds else 1], []))
    try:
        if not _alike(*branches):
            raise UnlikeBranchesError
        return tuple(call.run_either(holds, branches))
    except UnlikeBranchesError:
        if not _is_size(holds):
            call.unsupported(
                "the condition depends on data, and the branches' results differ in type or rank",
                "export the model with the branch fixed",
            )
    except SourceError as error:
        # A branch may need sizes at which its condition holds, and the sample's are others.
        if isinstance(error, UnsupportedError) or not _is_size(holds):
            raise
    way = call.choices.take(bool(guarding_hint_or_throw(holds)))
    always_so = holds if way else logical_not(holds)
    results = call.run_graph(branches[0 if way else 1], [])
    return tuple(_required(call, result, always_so) for result in results)


def _condition(condition: torch.Tensor | Known) -> torch.Tensor | torch.SymBool | bool:
    """The condition, as known as it can be without asking for data."""
    if isinstance(condition, torch.Tensor) and torch.compiler.is_exporting():
        return condition
    return resolved(truth(to_known(condition).elements[0]))


def _is_size(holds: torch.Tensor | torch.SymBool) -> TypeGuard[torch.SymBool]:
    """True if the sample's sizes tell the condition."""
    return isinstance(holds, torch.SymBool) and has_guarding_hint(holds)


def _alike(then: ir.Graph, otherwise: ir.Graph) -> bool:
    """False if the branches declare results of different ranks or types."""
    pairs = zip(then.outputs, otherwise.outputs, strict=True)
    return all(
        (a.shape is None or b.shape is None or len(a.shape) == len(b.shape))
        and (a.dtype is None or b.dtype is None or a.dtype == b.dtype)
        for a, b in pairs
    )


def _required(call: Call, result: Value, holds: Bool) -> Value:
    value = result.tensor() if isinstance(result, Known) else result
    return rebuilt(value, iter([require(tensor, holds, call.label) for tensor in tensors_in(value)]))


@op("Loop", 1, 11, 13, 16, 19, 21, 23, 24, 25, either=EVERY)
def loop(
    call: Call,
    trip_count: torch.Tensor | Known | None = None,
    condition: torch.Tensor | Known | None = None,
    *carried: Value,
) -> tuple[Value, ...]:
    body = call.attr_graph("body")
    most = _LONGEST_LOOP + 1 if trip_count is None else _trip_count(call, trip_count)
    state: Sequence[Value] = carried
    rows: list[Sequence[Value]] = []
    going = True if condition is None else _decided(call, condition)
    while going and len(rows) < most:
        if len(rows) == _LONGEST_LOOP:
            call.unsupported(f"more than {_LONGEST_LOOP} iterations")
        keep, *results = call.run_graph(body, [Known.of(len(rows)), Known.of(True, torch.bool), *state])
        state, row = results[: len(carried)], results[len(carried) :]
        rows.append(row)
        # Without a condition as an input, what the body says about it is ignored.
        going = condition is None or _decided(call, keep)
    scanned = body.outputs[1 + len(carried) :]
    return (*state, *(_stacked(call, [row[i] for row in rows], output) for i, output in enumerate(scanned)))


@op("Scan", 8, either=EVERY)
def batched_scan(call: Call, lengths: Value, *inputs: Value) -> tuple[Value, ...]:
    """Each item of the batch, axis 0, is scanned along its first axis."""
    if lengths is not None:
        call.unsupported("sequence_lens", "scan to the full length and mask what is past the end")
    tensors = [to_tensor(value) for value in inputs]
    count = call.attr_int("num_scan_inputs")
    backward = call.attr_ints("directions", [0] * count)
    batch = tensors[0].shape[0]
    if not isinstance(batch, int):
        call.unsupported("a batch whose size is not fixed", "Scan of later operator sets has no batch of its own")
    items = [
        _scan(call, [tensor.select(0, item) for tensor in tensors], [0] * count, backward) for item in range(batch)
    ]
    return tuple(torch.stack([to_tensor(value) for value in column]) for column in zip(*items, strict=True))


@op("Scan", 9, 11, 16, 19, 21, 23, 24, 25, either=EVERY)
def scan(call: Call, *inputs: Value) -> tuple[Value, ...]:
    count = call.attr_int("num_scan_inputs")
    axes = call.attr_ints("scan_input_axes", [0] * count)
    return _scan(call, inputs, axes, call.attr_ints("scan_input_directions", [0] * count))


@op("SequenceMap", 17, either=EVERY)
def sequence_map(call: Call, items: list[torch.Tensor], *others: Value) -> tuple[Value, ...]:
    body = call.attr_graph("body")
    rows = [
        call.run_graph(body, [item, *(other[i] if isinstance(other, list) else other for other in others)])
        for i, item in enumerate(items)
    ]
    return tuple([to_tensor(row[k]) for row in rows] for k in range(len(body.outputs)))


def _scan(call: Call, inputs: Sequence[Value], axes: list[int], backward: list[int]) -> tuple[Value, ...]:
    body = call.attr_graph("body")
    states = len(inputs) - len(axes)
    scanned = [to_tensor(value) for value in inputs[states:]]
    length = scanned[0].shape[axes[0]]
    if not isinstance(length, int):
        call.unsupported("the number of iterations depends on a size that is not fixed")
    if length > _LONGEST_LOOP:
        call.unsupported(f"{length} iterations, more than {_LONGEST_LOOP}")
    state: Sequence[Value] = inputs[:states]
    rows: list[Sequence[Value]] = []
    for step in range(length):
        slices = [
            tensor.select(axis, length - 1 - step if reverse else step)
            for tensor, axis, reverse in zip(scanned, axes, backward, strict=True)
        ]
        results = call.run_graph(body, [*state, *slices])
        state, row = results[:states], results[states:]
        rows.append(row)
    outputs = body.outputs[states:]
    out_axes = call.attr_ints("scan_output_axes", [0] * len(outputs))
    prepended = call.attr_ints("scan_output_directions", [0] * len(outputs))
    collected = []
    for i, (output, axis) in enumerate(zip(outputs, out_axes, strict=True)):
        column = [row[i] for row in (reversed(rows) if prepended[i] else rows)]
        collected.append(_stacked(call, column, output, axis))
    return (*state, *collected)


def _decided(call: Call, condition: Value) -> bool:
    """A condition that holds, or does not, whatever the sizes and the data are."""
    decided = resolved(truth(to_known(condition).elements[0]))
    if not isinstance(decided, bool):
        call.unsupported("the condition depends on sizes or on data", "export the model with the branch fixed")
    return decided


def _trip_count(call: Call, count: torch.Tensor | Known) -> int:
    known = to_known(count)
    if not known.is_concrete:
        call.unsupported("the number of iterations depends on sizes or on data")
    return numbers(known)[0]


def _stacked(call: Call, items: Sequence[Value], output: ir.Value, axis: int = 0) -> Value:
    """What a loop collects, along a new axis; of no items the declared type and shape, with 0."""
    if not items:
        sizes = [] if output.shape is None else list(output.shape)
        if output.dtype is None or output.shape is None or not all(isinstance(size, int) for size in sizes):
            call.unsupported(f"no iteration, and {output.name!r} declares no fixed shape")
        return torch.empty([0, *(int(str(size)) for size in sizes)], dtype=torch_dtype(output.dtype, call.label))
    known = [item for item in items if isinstance(item, Known)]
    if len(known) == len(items):
        return Known(np.stack([item.array for item in known], axis), known[0].dtype)
    return torch.stack([to_tensor(item) for item in items], axis)
