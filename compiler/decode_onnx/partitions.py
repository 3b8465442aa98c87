"""Engines of unrolled positions, cut at boundaries, which hand the state of a decode to each other."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import onnx_ir as ir

from artifacts.decode_inputs import DecodeInputs
from artifacts.dtype import DType
from artifacts.names import free_name
from artifacts.schedule import CacheSlot, Decode, Partitioned
from artifacts.spec import Dim, Signature, TensorSpec
from compiler.decode_onnx.functions import DecodeFunctions
from compiler.decode_onnx.position import Carried, Position, Positions
from compiler.decode_onnx.scope import Scope, typed
from compiler.emit_onnx import OnnxBody


def emit_partitions(functions: DecodeFunctions) -> Iterator[tuple[OnnxBody, Signature]]:
    """One engine for the positions up to each boundary, and its signature.

    A partition takes the caller's inputs and the encoder's outputs that its steps take, and then the state: what
    the step takes as tokens, `ended` bool [batch, 1], and the slots. It gives, in this order, the tokens that it
    generated, int64 [batch, n], the state that the next one takes, and if a function chooses, int64 [], at how many
    of its positions that computed all scores.
    """
    control = functions.inputs.schedule.control
    assert isinstance(control, Partitioned)
    for begin, end in pairwise((0, *control.boundaries)):
        yield _partition(functions, begin, end)


def _partition(functions: DecodeFunctions, begin: int, end: int) -> tuple[OnnxBody, Signature]:
    schedule = functions.inputs.schedule
    signature = partition_signature(functions.inputs, begin, end)
    scope = Scope(functions)
    given = {spec.name: typed(spec) for spec in signature.inputs}
    inputs = list(given.values())
    ended = inputs[[spec.name for spec in signature.inputs].index(schedule.tokens) + 1]
    slots = {slot.input: given[slot.input] for slot in schedule.slots if slot.input in given}
    positions = Positions(functions, given)
    carried, made = Carried(given[schedule.tokens], ended, slots, positions.none_yet(scope)), list[ir.Value]()
    for number in range(begin, end):
        carried, token = positions.advance(scope, carried, Position(scope.constant(number), number))
        made.append(token)
    tokens = scope.op("Cast", scope.op("Concat", *made, axis=1), to=ir.DataType.INT64)
    outputs = [tokens, carried.tokens, carried.ended, *(carried.slots[slot.input] for slot in schedule.slots)]
    # Of positions whose tokens are all forced it is a constant, which has a name of its own.
    outputs += [] if carried.full_products is None else [scope.op("Identity", carried.full_products)]
    for value, spec in zip(outputs, signature.outputs, strict=True):
        like = typed(spec)
        value.name, value.type, value.shape = like.name, like.type, like.shape
    return scope.finish(inputs, outputs), signature


def partition_signature(given: DecodeInputs, begin: int, end: int) -> Signature:
    """What the engine of positions `begin` to `end` takes and gives.

    How many rows a cache has by then is left open: partitions of equal length that compute the same are one engine.
    """
    schedule = given.schedule
    called = given.steps if begin == 0 < end - 1 else given.steps[:1] if begin == 0 else given.steps[-1:]
    fixed = {spec.name: spec for step in called for spec in given.fixed(step)}
    first, step = given.signatures[called[0]], given.signatures[schedule.step]
    rows = step.input(schedule.tokens).shape[0]
    taken = {spec.name for spec in first.inputs}
    inputs = [*fixed.values(), _tokens(schedule, step, begin, schedule.tokens)]
    slots = [first.input(slot.input) for slot in schedule.slots if slot.input in taken]
    names = {spec.name for spec in (*inputs, *slots)} | {slot.output for slot in schedule.slots}
    full_products = [] if schedule.choice is None else [free_name("full_products", names)]
    generated, fed = free_name("generated", names), free_name(f"{schedule.tokens}_next", names)
    inputs.append(TensorSpec(name=free_name("ended", names), dtype=DType.BOOL, shape=(rows, 1)))
    outputs = [
        TensorSpec(name=generated, dtype=DType.INT64, shape=(rows, end - begin)),
        _tokens(schedule, step, end, fed),
        TensorSpec(name=free_name("ended_next", names), dtype=DType.BOOL, shape=(rows, 1)),
        *(_grown(step, slot, end - begin, slot.input in taken) for slot in schedule.slots),
        *(TensorSpec(name=name, dtype=DType.INT64, shape=()) for name in full_products),
    ]
    return Signature(inputs=(*inputs, *slots), outputs=tuple(outputs))


def _tokens(schedule: Decode, step: Signature, position: int, name: str) -> TensorSpec:
    spec = step.input(schedule.tokens)
    length: Dim = {"cached": 1, "recompute": position + 1}.get(schedule.state, spec.shape[1])
    if schedule.state == "padded" and isinstance(length, str):
        length = schedule.generation.max_new_tokens
    return TensorSpec(name=name, dtype=spec.dtype, shape=(spec.shape[0], length))


def _grown(step: Signature, slot: CacheSlot, steps: int, is_taken: bool) -> TensorSpec:
    """A slot after a number of steps: one that grows has as many rows more than were taken, if any were."""
    spec = step.output(slot.output)
    if slot.axis is None or slot.init != "empty":
        return spec
    before = step.input(slot.input).shape[slot.axis]
    rows: Dim = f"{before} + {steps}" if is_taken else steps
    shape = tuple(rows if number == slot.axis else dim for number, dim in enumerate(spec.shape))
    return TensorSpec(name=spec.name, dtype=spec.dtype, shape=shape, carrier=spec.carrier)
