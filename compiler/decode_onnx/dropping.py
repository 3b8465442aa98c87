"""A Loop over positions that goes on without rows that have ended."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from artifacts.decode_inputs import DecodeInputs
from artifacts.dtype import DType
from artifacts.runtime.live_rows import DROPPED_SHARE
from compiler.decode_onnx.loops import Run, Written, body_of, carries_of, flat, inner, like_tokens, looped
from compiler.decode_onnx.position import Carried, Positions
from compiler.decode_onnx.scope import Scope


def looped_dropping(
    scope: Scope, positions: Positions, given: DecodeInputs, carried: Carried, generated: ir.Value, begin: ir.Value
) -> Written:
    """The tokens [batch, n] of a loop that stops when enough rows have ended, inside one that drops them.

    `generated` [batch, m] are the tokens before the loops, and `begin` whether a row goes on. A Loop may carry what
    changes its shape, so each turn of the outer one has fewer rows, of what the encoder gave them too. Between two
    turns nothing is asked of a position but the share of rows that have ended.
    """
    schedule = given.schedule
    step = given.signatures[schedule.step]
    limit = scope.constant(schedule.generation.max_new_tokens)
    axes = {name: axis for name, axis in (given.row_axes or {}).items() if name in {spec.name for spec in step.inputs}}
    axes |= {slot.input: slot.batch_axis for slot in schedule.slots}
    fixed = [spec.name for spec in given.fixed(schedule.step) if spec.name in axes]

    body = Scope(functions=scope.functions, outer=scope)
    iteration, before, inside = inner(DType.INT64, ()), like_tokens(given), carries_of(given, carried)
    rows, held = inner(DType.INT64), {name: inner(step.input(name).dtype) for name in fixed}
    done = _length(body, before)
    run = Run(done, body.op("Sub", limit, done), body.constant(True, np.bool_), _few_have_ended)
    after, made = looped(body, positions.given(held), given, inside, run)
    so_far = body.op("Concat", before, _in_place(body, made, rows, before, schedule.generation.pad), axis=1)
    kept = body.op("Squeeze", body.op("NonZero", _going(body, after.ended)), body.constant([0]))

    def keep(value: ir.Value, axis: int = 0) -> ir.Value:
        return body.op("Gather", value, kept, axis=axis)

    slots = {name: keep(value, axes[name]) for name, value in after.slots.items()}
    left = Carried(keep(after.tokens), keep(after.ended), slots, after.full_products)
    some = body.op("Greater", body.op("Size", kept), body.constant(0))
    goes_on = body.op("And", some, body.op("Less", _length(body, so_far), limit))
    carries = [before, rows, *held.values(), *flat(inside)]
    results = [so_far, keep(rows), *(keep(value, axes[name]) for name, value in held.items()), *flat(left)]
    graph = body_of(body, iteration, goes_on, carries, results)

    count = scope.op("Squeeze", scope.op("Shape", carried.tokens, start=0, end=1))
    every = scope.op("Range", scope.constant(0), count, scope.constant(1))
    begins = [limit, begin, generated, every, *(positions.fixed[name] for name in fixed), *flat(carried)]
    final = scope.tape.op_multi_out("Loop", begins, {"body": graph}, num_outputs=len(begins) - 2)
    return final[0], None if carried.full_products is None else final[-1]


def _in_place(scope: Scope, made: ir.Value, rows: ir.Value, of: ir.Value, pad: int) -> ir.Value:
    """The tokens made [rows, n], in the places that `rows` names of all rows that `of` has; in the others pad."""
    shape = scope.op("Concat", scope.op("Shape", of, start=0, end=1), scope.op("Shape", made, start=1, end=2), axis=0)
    filled = scope.op("Expand", scope.op("CastLike", scope.constant(pad), made), shape)
    return scope.op("ScatterND", filled, scope.op("Unsqueeze", rows, scope.constant([1])), made)


def _length(scope: Scope, tokens: ir.Value) -> ir.Value:
    """How many tokens each row has, int64 []."""
    return scope.op("Squeeze", scope.op("Shape", tokens, start=1, end=2))


def _going(scope: Scope, ended: ir.Value) -> ir.Value:
    """Which rows go on, bool [rows]."""
    return scope.op("Not", scope.op("Squeeze", ended, scope.constant([1])))


def _few_have_ended(scope: Scope, ended: ir.Value) -> ir.Value:
    """Whether all rows stay: `artifacts.runtime.live_rows` has the rule and its reason."""
    share = scope.op("ReduceMean", scope.op("Cast", ended, to=ir.DataType.FLOAT), keepdims=0)
    return scope.op("Less", share, scope.constant(DROPPED_SHARE, np.float32))
