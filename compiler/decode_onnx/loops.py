"""An ONNX Loop around one position of a decode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from artifacts.decode_inputs import DecodeInputs
from artifacts.dtype import DType
from compiler.decode_onnx.position import Carried, Position, Positions
from compiler.decode_onnx.scope import Scope, onnx_type

Written = tuple[ir.Value, ir.Value | None]
"""The generated tokens, and the count of full products if there is one."""


@dataclass(frozen=True, eq=False)
class Run:
    """Positions one after the other: the number of the first, int64 [], and at most how many, int64 [].

    `begin` is whether there is a first one, bool [], and `goes_on` whether there is another, by which rows have ended.
    """

    first: ir.Value
    most: ir.Value
    begin: ir.Value
    goes_on: Callable[[Scope, ir.Value], ir.Value]


def looped(
    scope: Scope, positions: Positions, given: DecodeInputs, carried: Carried, run: Run
) -> tuple[Carried, ir.Value]:
    """What is carried past the last position of a run, and the tokens [rows, n] that it made."""
    body = Scope(functions=scope.functions, outer=scope)
    iteration, inside = inner(DType.INT64, ()), carries_of(given, carried)
    before = like_tokens(given)
    after, token = positions.advance(body, inside, Position(body.op("Add", iteration, run.first), None))
    so_far = body.op("Concat", before, token, axis=1)
    goes_on = run.goes_on(body, after.ended)
    graph = body_of(body, iteration, goes_on, [before, *flat(inside)], [so_far, *flat(after)])
    begins = [run.most, run.begin, no_tokens(scope, carried.tokens), *flat(carried)]
    made, *final = scope.tape.op_multi_out("Loop", begins, {"body": graph}, num_outputs=len(begins) - 2)
    return _unflat(carried, final), made


def body_of(
    scope: Scope, iteration: ir.Value, goes_on: ir.Value, carries: Sequence[ir.Value], results: Sequence[ir.Value]
) -> ir.Graph:
    """A scope as a Loop's body, which gives for each thing that it is handed what the next turn is handed."""
    for result, carry in zip(results, carries, strict=True):
        result.type = carry.type
    goes_on.type = ir.TensorType(ir.DataType.BOOL)
    return scope.body([iteration, inner(DType.BOOL, ()), *carries], [goes_on, *results])


def inner(dtype: DType, shape: tuple[int | str, ...] | None = None) -> ir.Value:
    """A value that a body is handed. Without a shape it may have another one at each turn."""
    return ir.Value(type=ir.TensorType(onnx_type(dtype)), shape=None if shape is None else ir.Shape(shape))


def like_tokens(given: DecodeInputs) -> ir.Value:
    """A value that a body is handed, of the type of the step's tokens."""
    return inner(given.signatures[given.schedule.step].input(given.schedule.tokens).dtype)


def no_tokens(scope: Scope, tokens: ir.Value) -> ir.Value:
    """The first zero tokens of each row, [rows, 0]."""
    return scope.op("Slice", tokens, *(scope.constant([n]) for n in (0, 0, 1)))


def carries_of(given: DecodeInputs, carried: Carried) -> Carried:
    """What a body is handed if its loop begins with `carried`."""
    step = given.signatures[given.schedule.step]
    slots = {name: inner(step.input(name).dtype) for name in carried.slots}
    counted = None if carried.full_products is None else inner(DType.INT64, ())
    return Carried(like_tokens(given), inner(DType.BOOL), slots, counted)


def flat(carried: Carried) -> list[ir.Value]:
    """All that is carried, in one order."""
    counted = () if carried.full_products is None else (carried.full_products,)
    return [carried.tokens, carried.ended, *carried.slots.values(), *counted]


def _unflat(carried: Carried, values: Sequence[ir.Value]) -> Carried:
    """Other values, in the order of `flat`, with the names that `carried` has."""
    tokens, ended, *others = values
    counted = None if carried.full_products is None else others.pop()
    return Carried(tokens, ended, dict(zip(carried.slots, others, strict=True)), counted)
