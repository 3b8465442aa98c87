"""The first part of a decode of one row: a Loop whose turns guess several tokens and check them in one call.

A turn calls the draft's step for each guess, then the window on the last token and all guesses. The window chooses
what the step would: guesses are kept up to the first that it does not choose, and what it chooses there is one token
more. What it kept of tokens after that is cut off again. So the tokens are those of the step, and a turn gives from
one to all of them. The algorithm is speculative decoding (Leviathan et al. 2023), for a greedy choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from artifacts.decode_inputs import DecodeInputs
from artifacts.dtype import DType
from artifacts.schedule import Draft
from compiler.decode_onnx.loops import carry_of, inner, some_go_on
from compiler.decode_onnx.position import Carried, Position, Positions
from compiler.decode_onnx.scope import Scope


@dataclass(frozen=True, eq=False)
class Begun:
    """How far a decode is: what the next position finds, the tokens so far [batch, n], and n, int64 []."""

    carried: Carried
    generated: ir.Value
    done: ir.Value


@dataclass(frozen=True, eq=False)
class Guessed:
    """How many tokens were guessed, and how many of these were kept, each int64 []."""

    drafted: ir.Value
    accepted: ir.Value


def drafted(
    scope: Scope, positions: Positions, given: DecodeInputs, draft: Draft, begun: Begun
) -> tuple[Begun, Guessed]:
    """Go on as far as whole windows fit into the decode, if it is of one row; else stay where it is."""
    longest, width = given.schedule.generation.max_new_tokens, draft.count + 1
    body = Scope(functions=scope.functions, outer=scope)
    turn, going = inner((), DType.INT64), inner((), DType.BOOL)
    carried = carry_of(begun.carried, given)
    before, position = inner(None, given.token_type), inner((), DType.INT64)
    after = _turn(body, positions, given, draft, Begun(carried, before, position))
    fits = body.op("LessOrEqual", after.done, body.constant(longest - width))
    goes_on = body.op("And", some_go_on(body, after.carried.ended), fits)
    turns = body.op("Add", turn, body.constant(1))
    carries = [before, position, inner((), DType.INT64), *carried.values]
    results = [after.generated, body.op("Identity", after.done), turns, *after.carried.values]
    for result, carry in zip(results, carries, strict=True):
        result.type = carry.type
    goes_on.type = ir.TensorType(ir.DataType.BOOL)
    rows = scope.op("Shape", begun.carried.tokens, start=0, end=1)
    one_row = scope.op("Squeeze", scope.op("Equal", rows, scope.constant([1])), scope.constant([0]))
    begin = scope.op("And", one_row, scope.constant(longest >= width, np.bool_))
    graph = body.body([turn, going, *carries], [goes_on, *results])
    begins = [begun.generated, begun.done, scope.constant(0), *begun.carried.values]
    final = scope.tape.op_multi_out(
        "Loop", [scope.constant(longest), begin, *begins], {"body": graph}, num_outputs=len(begins)
    )
    generated, done, turned, *rest = final
    guessed = Guessed(scope.op("Mul", turned, scope.constant(draft.count)), scope.op("Sub", done, turned))
    return Begun(begun.carried.like(rest), generated, done), guessed


def _turn(body: Scope, positions: Positions, given: DecodeInputs, draft: Draft, begun: Begun) -> Begun:
    """Guess, check, and keep what was right, with one token more."""
    slots, guesses = begun.carried.slots, [begun.carried.tokens]
    for number in range(draft.count):
        at = Position(body.op("Add", begun.done, body.constant(number)), None)
        made = positions.call(body, draft.step, Carried(guesses[-1], begun.carried.ended, slots), at)
        guesses.append(positions.likeliest(body, made, at))
        slots = {slot.input: made[slot.output] for slot in given.schedule.slots}
    tokens = body.op("Concat", *guesses, axis=1)
    window = Carried(tokens, begun.carried.ended, begun.carried.slots, begun.carried.full_products)
    made = positions.call(body, draft.window, window, Position(begun.done, None))
    places = body.op("Add", begun.done, body.constant(np.arange(draft.count + 1)[None]))
    chosen, full_products = positions.chosen(body, made, window, Position(places, None), draft.count + 1)
    ends = positions.are_ends(body, chosen)
    # The first place at which the window chooses another token than was guessed, or ends; behind all guesses if none.
    wrong = body.op("Not", body.op("Equal", _columns(body, chosen, 0, draft.count), _columns(body, tokens, 1)))
    stops = body.op("Or", wrong, _columns(body, ends, 0, draft.count))
    numbers = body.constant(np.arange(draft.count)[None])
    last = body.op("ReduceMin", body.op("Where", stops, numbers, body.constant([[draft.count]])))
    begin, end = (
        body.op("Reshape", value, body.constant([1])) for value in (last, body.op("Add", last, body.constant([[1]])))
    )
    done = body.op("Add", begun.done, body.op("Squeeze", end, body.constant([0])))
    rows = body.op("Unsqueeze", done, body.constant([0]))
    carried = Carried(
        _cut(body, chosen, begin, end, 1),
        _cut(body, ends, begin, end, 1),
        {s.input: _cut(body, made[s.output], body.constant([0]), rows, s.axis) for s in given.schedule.slots},
        full_products,
    )
    kept = _cut(body, chosen, body.constant([0]), end, 1)
    return Begun(carried, body.op("Concat", begun.generated, kept, axis=1), done)


def _columns(body: Scope, value: ir.Value, begin: int, end: int = np.iinfo(np.int64).max) -> ir.Value:
    return _cut(body, value, body.constant([begin]), body.constant([end]), 1)


def _cut(body: Scope, value: ir.Value, begin: ir.Value, end: ir.Value, axis: Any) -> ir.Value:
    return body.op("Slice", value, begin, end, body.constant([axis]))
