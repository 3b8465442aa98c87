"""If, Loop, Scan, SequenceMap: branches are chosen and loops unrolled where that is known beforehand.

Of an If that is not known both branches are traced, and of a loop that is not known its body, once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeGuard

import numpy as np
import onnx_ir as ir
import torch
from torch.fx.experimental.symbolic_shapes import guarding_hint_or_throw, has_guarding_hint

from artifacts.errors import SourceError, UnsupportedError
from passes.onnx_to_torch.branches import UnlikeBranchesError
from passes.onnx_to_torch.call import Call, Iterate, RunGraph
from passes.onnx_to_torch.captures import rebuilt, tensors_in
from passes.onnx_to_torch.constant_nodes import constant_of, is_constant
from passes.onnx_to_torch.known_math import Bool, Int, integers, logical_not, resolved, truth
from passes.onnx_to_torch.loops import Times, UnsteadyLoopError, scalar
from passes.onnx_to_torch.registry import EVERY, op
from passes.onnx_to_torch.requirements import require
from passes.onnx_to_torch.sizes import as_int
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


def _condition(condition: Value) -> torch.Tensor | torch.SymBool | bool:
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
    unrolled = _unrolled(call, trip_count, condition, carried)
    if unrolled is not None:
        return unrolled
    body, true = call.attr_graph("body"), Known.of(True, torch.bool)
    endless = condition is None or (_condition(condition) is True and _goes_on(body))
    times = Times(_trip_count(trip_count), None if endless else scalar(condition))

    def iterate(run: RunGraph, number: Known, state: Sequence[Value], _: Sequence[Value]) -> Sequence[Value]:
        return run(body, [number, true, *state])

    return _looped(call, times, carried, (), iterate)


def _goes_on(body: ir.Graph) -> bool:
    """True if what a body says about going on is plainly true: what exporters write for a loop that only counts."""
    value: ir.Value | None = body.outputs[0]
    while value is not None and (node := value.producer()) is not None and node.op_type in ("Identity", "Cast"):
        value = node.inputs[0]
    if value is None or value is body.inputs[1]:
        return value is not None
    constant = constant_of(node) if node is not None and is_constant(node) else value.const_value
    return constant is not None and bool(constant.numpy().all())


def _unrolled(
    call: Call,
    trip_count: torch.Tensor | Known | None,
    condition: torch.Tensor | Known | None,
    carried: Sequence[Value],
) -> tuple[Value, ...] | None:
    """The results of a Loop one iteration after another, or None if it is not known how many there are."""
    body = call.attr_graph("body")
    most = _LONGEST_LOOP + 1 if trip_count is None else _trip_count(trip_count)
    going = True if condition is None else _condition(condition)
    if not isinstance(most, int) or (condition is None and most > _LONGEST_LOOP):
        return None
    state: Sequence[Value] = carried
    rows: list[Sequence[Value]] = []
    while going is True and len(rows) < most:
        if len(rows) == _LONGEST_LOOP:
            return None
        keep, *results = call.run_graph(body, [Known.of(len(rows)), Known.of(True, torch.bool), *state])
        state, row = results[: len(carried)], results[len(carried) :]
        rows.append(row)
        # Without a condition as an input, what the body says about it is ignored.
        going = True if condition is None else _condition(keep)
    if not isinstance(going, bool):
        return None
    scanned = body.outputs[1 + len(carried) :]
    return (*state, *(_stacked(call, [row[i] for row in rows], output) for i, output in enumerate(scanned)))


def _looped(
    call: Call, times: Times, carried: Sequence[Value], shared: Sequence[Value], iterate: Iterate
) -> tuple[Value, ...]:
    if not torch.compiler.is_exporting():
        call.unsupported(f"more than {_LONGEST_LOOP} iterations")
    try:
        return tuple(call.run_loop(call.attr_graph("body"), times, carried, shared, iterate))
    except UnsteadyLoopError as error:
        call.unsupported(f"{error}, and the number of iterations is not known")


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


@dataclass(frozen=True, eq=False)
class _Scanned:
    """A tensor that a Scan takes apart along an axis, from the last item on if `backward`."""

    tensor: torch.Tensor
    axis: int
    backward: int

    @property
    def length(self) -> Int:
        return self.tensor.shape[self.axis]

    def item(self, step: Int) -> torch.Tensor:
        return self.tensor.select(self.axis, as_int(self.length - 1 - step if self.backward else step))


def _scan(call: Call, inputs: Sequence[Value], axes: list[int], backward: list[int]) -> tuple[Value, ...]:
    body = call.attr_graph("body")
    count = len(inputs) - len(axes)
    scanned = [_Scanned(*one) for one in zip(map(to_tensor, inputs[count:]), axes, backward, strict=True)]
    state, length = inputs[:count], scanned[0].length
    outputs = body.outputs[count:]
    out_axes = call.attr_ints("scan_output_axes", [0] * len(outputs))
    prepended = call.attr_ints("scan_output_directions", [0] * len(outputs))

    def iterate(run: RunGraph, number: Known, state: Sequence[Value], shared: Sequence[Value]) -> Sequence[Value]:
        tensors = zip(scanned, map(to_tensor, shared), strict=True)
        items = (replace(one, tensor=tensor).item(*integers(number)) for one, tensor in tensors)
        return [Known.of(True, torch.bool), *run(body, [*state, *items])]

    if not isinstance(length, int) or length > _LONGEST_LOOP:
        found = _looped(call, Times(length, None), state, [one.tensor for one in scanned], iterate)
        columns = zip(found[count:], out_axes, prepended, strict=True)
        return (*found[:count], *(_arranged(*column) for column in columns))
    rows: list[Sequence[Value]] = []
    for step in range(length):
        results = call.run_graph(body, [*state, *(one.item(step) for one in scanned)])
        state, row = results[:count], results[count:]
        rows.append(row)
    collected = []
    for i, (output, axis) in enumerate(zip(outputs, out_axes, strict=True)):
        column = [row[i] for row in (reversed(rows) if prepended[i] else rows)]
        collected.append(_stacked(call, column, output, axis))
    return (*state, *collected)


def _arranged(column: Value, axis: int, prepended: int) -> Value:
    """What a scan collected along axis 0, along another one and from the last item on if `prepended`."""
    tensors = (tensor.flip(0) if prepended else tensor for tensor in tensors_in(column))
    return rebuilt(column, iter([tensor.movedim(0, axis) for tensor in tensors]))


def _trip_count(count: torch.Tensor | Known | None) -> torch.Tensor | Int | None:
    """The number of iterations, as known as it can be without asking for data."""
    if count is None or (isinstance(count, torch.Tensor) and torch.compiler.is_exporting()):
        return None if count is None else scalar(count)
    return integers(to_known(count))[0]


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
