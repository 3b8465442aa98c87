"""The whole decode in one engine: the encoder, then an ONNX Loop over positions, or every position written out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from artifacts.decode_inputs import DecodeInputs
from artifacts.dtype import DType
from artifacts.names import free_name
from artifacts.schedule import Unrolled
from artifacts.spec import Dim, Signature, TensorSpec
from compiler.decode_onnx.drafted import Begun, Guessed, drafted
from compiler.decode_onnx.functions import DecodeFunctions
from compiler.decode_onnx.loops import carry_of, inner, some_go_on
from compiler.decode_onnx.position import Carried, Position, Positions
from compiler.decode_onnx.scope import Scope, typed
from compiler.emit_onnx import OnnxBody


def emit_whole(functions: DecodeFunctions) -> tuple[OnnxBody, Signature]:
    """Compose the decode, with the loop that the schedule's control asks for, and its signature.

    The signature is the caller's inputs, and outputs in this order: `tokens` int64 [batch, n] (start token left out,
    end tokens kept, filled with pad), `lengths` int64 [batch], if a function chooses, `full_products` int64 [], at how
    many positions it computed all scores, and if tokens are guessed, `drafted` and `accepted` int64 [], how many were
    and how many of them were right. Raises TargetError for what a graph cannot say.
    """
    given = functions.inputs
    scope = Scope(functions)
    fixed = {spec.name: typed(spec) for spec in given.callers}
    inputs = list(fixed.values())
    if given.schedule.encoder is not None:
        fixed |= scope.call(given.schedule.encoder, fixed)
    positions = Positions(functions, fixed)
    write = _unrolled if isinstance(given.schedule.control, Unrolled) else _looped
    written = write(scope, positions, given)
    tokens = scope.op("Cast", written.generated, to=ir.DataType.INT64)
    lengths = _lengths(scope, tokens, given.schedule.generation.eos)
    signature = _signature(given)
    outputs = [tokens, lengths, *(scope.op("Identity", count) for count in written.counts)]
    for value, spec in zip(outputs, signature.outputs, strict=True):
        value.name, value.type, value.shape = spec.name, ir.TensorType(ir.DataType.INT64), ir.Shape(spec.shape)
    return scope.finish(inputs, outputs), signature


@dataclass(frozen=True, eq=False)
class _Written:
    """The generated tokens, the count of full products if they are counted, and what became of guesses, if any."""

    generated: ir.Value
    full_products: ir.Value | None
    guessed: Guessed | None = None

    @property
    def counts(self) -> list[ir.Value]:
        """What is counted, each int64 [], in the order in which an engine gives it."""
        full = [] if self.full_products is None else [self.full_products]
        return full if self.guessed is None else [*full, self.guessed.drafted, self.guessed.accepted]


def _unrolled(scope: Scope, positions: Positions, given: DecodeInputs) -> _Written:
    """The tokens [batch, max_new_tokens], one call a position."""
    carried, made = positions.start(scope), list[ir.Value]()
    for number in range(given.schedule.generation.max_new_tokens):
        carried, token = positions.advance(scope, carried, Position(scope.constant(number), number))
        made.append(token)
    return _Written(scope.op("Concat", *made, axis=1), carried.full_products)


def _looped(scope: Scope, positions: Positions, given: DecodeInputs) -> _Written:
    """The tokens [batch, n], n where the last row has ended: a Loop around one call, one that guesses before it.

    A function of its own for position 0 is called before the Loop. Where steps are given all tokens at one length,
    nothing that the Loop carries grows, which TensorRT asks of it: n is then max_new_tokens, and the rest is pad.
    """
    schedule, start = given.schedule, positions.start(scope)
    begun, guessed = Begun(start, _none_generated(scope, start, given), scope.constant(0)), None
    longest = schedule.generation.max_new_tokens
    trips, begin = scope.constant(longest), scope.constant(True, np.bool_)
    if schedule.first is not None:
        carried, generated = positions.advance(scope, start, Position(begun.done, 0))
        begun = Begun(carried, generated, scope.constant(1))
        trips, begin = scope.constant(longest - 1), some_go_on(scope, carried.ended)
    elif schedule.draft is not None:
        begun, guessed = drafted(scope, positions, given, schedule.draft, begun)
        trips, begin = scope.op("Sub", trips, begun.done), some_go_on(scope, begun.carried.ended)
    body = Scope(functions=scope.functions, outer=scope)
    iteration, going = inner((), DType.INT64), inner((), DType.BOOL)
    position = iteration if begun.carried is start else body.op("Add", iteration, begun.done)
    carried, before = carry_of(begun.carried, given), inner(None, given.token_type)
    after, token = positions.advance(body, carried, Position(position, None))
    so_far = _appended(body, before, token, position, given)
    goes_on = some_go_on(body, after.ended)
    carries, results = [before, *carried.values], [so_far, *after.values]
    for result, carry in zip(results, carries, strict=True):
        result.type = carry.type
    goes_on.type = ir.TensorType(ir.DataType.BOOL)
    graph = body.body([iteration, going, *carries], [goes_on, *results])
    begins = [begun.generated, *begun.carried.values]
    final = scope.tape.op_multi_out("Loop", [trips, begin, *begins], {"body": graph}, num_outputs=len(begins))
    return _Written(final[0], begun.carried.like(final[1:]).full_products, guessed)


def _of_one_size(given: DecodeInputs) -> bool:
    return given.schedule.state == "padded" and given.schedule.first is None


def _none_generated(scope: Scope, carried: Carried, given: DecodeInputs) -> ir.Value:
    """The tokens before the first position: [batch, 0], or all of them pad."""
    if not _of_one_size(given):
        return scope.op("Slice", carried.tokens, *(scope.constant([n]) for n in (0, 0, 1)))
    rules = given.schedule.generation
    rows = scope.op("Shape", carried.tokens, start=0, end=1)
    pad = scope.constant([[rules.pad]], given.token_type.numpy)
    return scope.op("Expand", pad, scope.op("Concat", rows, scope.constant([rules.max_new_tokens]), axis=0))


def _appended(scope: Scope, before: ir.Value, token: ir.Value, position: ir.Value, given: DecodeInputs) -> ir.Value:
    """The tokens so far with the one of a position."""
    if not _of_one_size(given):
        return scope.op("Concat", before, token, axis=1)
    places = np.arange(given.schedule.generation.max_new_tokens)[None]
    return scope.op("Where", scope.op("Equal", scope.constant(places), position), token, before)


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
    if given.schedule.draft is not None:
        shapes |= {"drafted": (), "accepted": ()}
    outputs = (
        TensorSpec(name=free_name(name, taken), dtype=DType.INT64, shape=shape) for name, shape in shapes.items()
    )
    return Signature(inputs=given.callers, outputs=tuple(outputs))
