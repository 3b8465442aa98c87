"""The whole decode in one engine: the encoder, then an ONNX Loop over positions, or every position written out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from artifacts.decode_inputs import DecodeInputs
from artifacts.dtype import DType
from artifacts.names import free_name
from artifacts.schedule import Unrolled
from artifacts.spec import Dim, Signature, TensorSpec
from compiler.decode_onnx.functions import DecodeFunctions
from compiler.decode_onnx.position import Carried, Position, Positions
from compiler.decode_onnx.scope import Scope, onnx_type, typed
from compiler.emit_onnx import OnnxBody


def emit_whole(functions: DecodeFunctions) -> tuple[OnnxBody, Signature]:
    """Compose the decode, with the loop that the schedule's control asks for, and its signature.

    The signature is the caller's inputs, and outputs in this order: `tokens` int64 [batch, n] (start token left out,
    end tokens kept, filled with pad), `lengths` int64 [batch], and if a function chooses, `full_products` int64 [],
    at how many positions it computed all scores. Raises TargetError for what a graph cannot say.
    """
    given = functions.inputs
    scope = Scope(functions)
    fixed = {spec.name: typed(spec) for spec in given.callers}
    inputs = list(fixed.values())
    if given.schedule.encoder is not None:
        fixed |= scope.call(given.schedule.encoder, fixed)
    positions = Positions(functions, fixed)
    write = _unrolled if isinstance(given.schedule.control, Unrolled) else _looped
    generated, full_products = write(scope, positions, given)
    tokens = scope.op("Cast", generated, to=ir.DataType.INT64)
    lengths = _lengths(scope, tokens, given.schedule.generation.eos)
    signature = _signature(given)
    outputs = [tokens, lengths, *(() if full_products is None else (scope.op("Identity", full_products),))]
    for value, spec in zip(outputs, signature.outputs, strict=True):
        value.name, value.type, value.shape = spec.name, ir.TensorType(ir.DataType.INT64), ir.Shape(spec.shape)
    return scope.finish(inputs, outputs), signature


Written = tuple[ir.Value, ir.Value | None]
"""The generated tokens, and the count of full products if there is one."""


def _unrolled(scope: Scope, positions: Positions, given: DecodeInputs) -> Written:
    """The tokens [batch, max_new_tokens], one call a position."""
    carried, made = positions.start(scope), list[ir.Value]()
    for number in range(given.schedule.generation.max_new_tokens):
        carried, token = positions.advance(scope, carried, Position(scope.constant(number), number))
        made.append(token)
    return scope.op("Concat", *made, axis=1), carried.full_products


def _looped(scope: Scope, positions: Positions, given: DecodeInputs) -> Written:
    """The tokens [batch, n], n where the last row has ended: a Loop around one call.

    A function of its own for position 0 is called before the Loop. Where steps are given all tokens at one length,
    nothing that the Loop carries grows, which TensorRT asks of it: n is then max_new_tokens, and the rest is pad.
    """
    schedule = given.schedule
    carried = positions.start(scope)
    token_type = onnx_type(given.signatures[schedule.step].input(schedule.tokens).dtype)
    done = 0
    generated = _none_generated(scope, carried, given)
    if schedule.first is not None:
        carried, generated = positions.advance(scope, carried, Position(scope.constant(0), 0))
        done = 1
    body = Scope(functions=scope.functions, outer=scope)
    iteration, going = _inner((), DType.INT64), _inner((), DType.BOOL)
    position = body.op("Add", iteration, body.constant(done)) if done else iteration
    slots = {name: ir.Value(type=ir.TensorType(onnx_type(dtype))) for name, dtype in _slot_types(given).items()}
    counted = None if carried.full_products is None else _inner((), DType.INT64)
    inner = Carried(ir.Value(type=ir.TensorType(token_type)), _inner(("batch", 1), DType.BOOL), slots, counted)
    before = ir.Value(type=ir.TensorType(token_type))
    after, token = positions.advance(body, inner, Position(position, None))
    so_far = _appended(body, before, token, position, given)
    goes_on = _some_go_on(body, after.ended)
    results = [so_far, after.tokens, after.ended, *(after.slots[name] for name in slots)]
    begins = [generated, carried.tokens, carried.ended, *(carried.slots[name] for name in slots)]
    carries = [before, inner.tokens, inner.ended, *slots.values()]
    for values, last in ((results, after), (begins, carried), (carries, inner)):
        values.extend(() if last.full_products is None else (last.full_products,))
    for result, carry in zip(results, carries, strict=True):
        result.type = carry.type
    goes_on.type = ir.TensorType(ir.DataType.BOOL)
    trips = scope.constant(schedule.generation.max_new_tokens - done)
    begin = _some_go_on(scope, carried.ended) if done else scope.constant(True, np.bool_)
    graph = body.body([iteration, going, *carries], [goes_on, *results])
    final = scope.tape.op_multi_out("Loop", [trips, begin, *begins], {"body": graph}, num_outputs=len(begins))
    return final[0], None if counted is None else final[-1]


def _of_one_size(given: DecodeInputs) -> bool:
    return given.schedule.state == "padded" and given.schedule.first is None


def _none_generated(scope: Scope, carried: Carried, given: DecodeInputs) -> ir.Value:
    """The tokens before the first position: [batch, 0], or all of them pad."""
    if not _of_one_size(given):
        return scope.op("Slice", carried.tokens, *(scope.constant([n]) for n in (0, 0, 1)))
    rules = given.schedule.generation
    rows = scope.op("Shape", carried.tokens, start=0, end=1)
    dtype = given.signatures[given.schedule.step].input(given.schedule.tokens).dtype.numpy
    pad = scope.constant([[rules.pad]], dtype)
    return scope.op("Expand", pad, scope.op("Concat", rows, scope.constant([rules.max_new_tokens]), axis=0))


def _appended(scope: Scope, before: ir.Value, token: ir.Value, position: ir.Value, given: DecodeInputs) -> ir.Value:
    """The tokens so far with the one of a position."""
    if not _of_one_size(given):
        return scope.op("Concat", before, token, axis=1)
    places = np.arange(given.schedule.generation.max_new_tokens)[None]
    return scope.op("Where", scope.op("Equal", scope.constant(places), position), token, before)


def _some_go_on(scope: Scope, ended: ir.Value) -> ir.Value:
    """A bool [] of ended bool [batch, 1]. Of numbers: TensorRT takes no smallest of booleans."""
    least = scope.op("ReduceMin", scope.op("Cast", ended, to=ir.DataType.INT32), keepdims=0)
    return scope.op("Equal", least, scope.constant(0, np.int32))


def _slot_types(given: DecodeInputs) -> Mapping[str, DType]:
    step = given.signatures[given.schedule.step]
    return {slot.input: step.input(slot.input).dtype for slot in given.schedule.slots}


def _inner(shape: tuple[int | str, ...], dtype: DType) -> ir.Value:
    return ir.Value(type=ir.TensorType(onnx_type(dtype)), shape=ir.Shape(shape))


def _lengths(scope: Scope, tokens: ir.Value, ends: tuple[int, ...]) -> ir.Value:
    """Tokens of each row, int64 [batch], its end token counted: those that no end token stands before."""
    is_end = scope.op("Equal", tokens, scope.constant(ends[0]))
    for end in ends[1:]:
        is_end = scope.op("Or", is_end, scope.op("Equal", tokens, scope.constant(end)))
    ends_before = scope.op("CumSum", scope.op("Cast", is_end, to=ir.DataType.INT64), scope.constant(1), exclusive=1)
    counted = scope.op("Cast", scope.op("Equal", ends_before, scope.constant(0)), to=ir.DataType.INT64)
    return scope.op("ReduceSum", counted, scope.constant([1]), keepdims=0)


def _signature(given: DecodeInputs) -> Signature:
    rows = given.signatures[given.schedule.step].input(given.schedule.tokens).shape[0]
    taken = {spec.name for spec in given.callers}
    shapes: dict[str, tuple[Dim, ...]] = {"tokens": (rows, "generated"), "lengths": (rows,)}
    if given.schedule.choice is not None:
        shapes["full_products"] = ()
    outputs = (
        TensorSpec(name=free_name(name, taken), dtype=DType.INT64, shape=shape) for name, shape in shapes.items()
    )
    return Signature(inputs=given.callers, outputs=tuple(outputs))
