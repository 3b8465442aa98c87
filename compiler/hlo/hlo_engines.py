"""The engines of a model's schedule as HLO modules of static shapes, with their weights as parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import jax

from artifacts.decode_inputs import DecodeInputs
from artifacts.dtype import DType
from artifacts.errors import UnsupportedError
from artifacts.names import free_name
from artifacts.schedule import CacheSlot, Decode, Host, Partitioned, Single
from artifacts.spec import Signature, TensorSpec
from artifacts.weights import WeightRef
from compiler.decode_onnx.partitions import partition_signature
from compiler.hlo.decode import Carried, HloDecode, Named, lengths_of
from compiler.hlo.gaps import gaps
from compiler.hlo.interpret import call_function
from compiler.hlo.module import Arrays, as_carried, hlo_module, shaped
from passes.program import Function, Program

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class HloSource:
    """One engine: its module, what it takes and gives, and which weight each parameter after its inputs is.

    `aliases` names the output that is written over an input, by the input's name.
    """

    data: bytes
    signature: Signature
    bindings: Mapping[str, WeightRef]
    aliases: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class HloSources:
    """The engines of one model by name, and which of them hold each function of its schedule, in calling order."""

    engines: Mapping[str, HloSource]
    functions: Mapping[str, tuple[str, ...]]


def hlo_sources(program: Program, model: str, shapes: Shapes) -> HloSources:
    """The engines that a model's schedule needs, at these shapes of the caller's inputs.

    Raises UnsupportedError with all that has no form in HLO in any function, TargetError for a decode that has no fixed
    sizes.
    """
    schedule = program.models[model].schedule
    functions = {name: program.functions[name] for name in schedule.functions}
    UnsupportedError.raise_if(gaps(functions.values(), program.weights))
    if isinstance(schedule, Single):
        (function,) = functions.values()
        source = _function(function, shapes)
        return HloSources({function.name: source}, {function.name: (function.name,)})
    signatures = {name: function.signature for name, function in functions.items()}
    inputs = DecodeInputs(schedule, signatures, program.models[model].signature)
    if isinstance(schedule.control, Host):
        return _apart(schedule, functions, inputs, shapes)
    if isinstance(schedule.control, Partitioned):
        return _partitions(model, schedule, functions, inputs, shapes)
    name = f"{model}.decode"
    return HloSources({name: _whole(name, functions, inputs, shapes)}, dict.fromkeys(functions, (name,)))


class _Weights:
    """Weights of several functions, each content once, as parameters in the order in which they are first needed."""

    def __init__(self, functions: Sequence[Function]) -> None:
        refs = dict.fromkeys(ref for function in functions for ref in function.weights.values())
        self.refs = tuple(refs)

    @property
    def shaped(self) -> list[Any]:
        return [shaped(ref.shape, ref.dtype) for ref in self.refs]

    def of(self, function: Function, arrays: Arrays) -> dict[str, Any]:
        """A function's own, by placeholder."""
        by_ref = dict(zip(self.refs, arrays, strict=True))
        return {name: by_ref[ref] for name, ref in function.weights.items()}

    def bindings(self, inputs: int) -> dict[str, WeightRef]:
        """Which weight each parameter is, by its number."""
        return {str(inputs + number): ref for number, ref in enumerate(self.refs)}


def _function(function: Function, shapes: Shapes, slots: Sequence[CacheSlot] = ()) -> HloSource:
    """One function at these shapes of its inputs; the slots are written over."""
    weights, specs = _Weights([function]), _at(function.signature.inputs, shapes)

    def call(inputs: Arrays, arrays: Arrays) -> tuple[Any, ...]:
        return call_function(function, weights.of(function, arrays), inputs)

    aliases = {slot.input: slot.output for slot in slots}
    return _source(function.name, call, specs, function.signature.outputs, weights, aliases)


def _source(
    name: str,
    call: Callable[[Arrays, Arrays], tuple[Any, ...]],
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    weights: _Weights,
    aliases: Mapping[str, str] = MappingProxyType({}),
) -> HloSource:
    parameters, results = ([spec.name for spec in specs] for specs in (inputs, outputs))
    numbers = {parameters.index(given): results.index(made) for given, made in aliases.items()}
    module = hlo_module(name, call, inputs, weights.shaped, numbers)
    made = [spec.model_copy(update={"shape": shape}) for spec, shape in zip(outputs, module.results, strict=True)]
    signature = Signature(inputs=tuple(inputs), outputs=tuple(made))
    return HloSource(module.data, signature, weights.bindings(len(inputs)), aliases)


def _at(specs: Sequence[TensorSpec], shapes: Shapes) -> list[TensorSpec]:
    return [spec.model_copy(update={"shape": shapes[spec.name]}) for spec in specs]


def _shapes_of(signature: Signature) -> dict[str, tuple[int, ...]]:
    return {spec.name: tuple(int(dim) for dim in spec.shape) for spec in signature.outputs}


def _apart(schedule: Decode, functions: Mapping[str, Function], inputs: DecodeInputs, shapes: Shapes) -> HloSources:
    """Encoder and step, for a loop on the host. What a step carries has the same shape at every position."""
    engines, known = {}, dict(shapes)
    if schedule.encoder is not None:
        engines[schedule.encoder] = _function(functions[schedule.encoder], known)
        known |= _shapes_of(engines[schedule.encoder].signature)
    carried = jax.eval_shape(lambda: _start(inputs, known))
    known[schedule.tokens] = carried.tokens.shape
    known |= {name: array.shape for name, array in carried.slots.items()}
    # What the encoder gave may be needed again.
    own = [slot for slot in schedule.slots if not slot.init.startswith("encoder:")]
    for step in dict.fromkeys(inputs.steps):
        for spec in functions[step].signature.inputs:
            if spec.name == schedule.position:
                rows = carried.tokens.shape[0]
                known[spec.name] = tuple(dim if isinstance(dim, int) else rows for dim in spec.shape)
        engines[step] = _function(functions[step], known, own)
    return HloSources(engines, {name: (name,) for name in engines})


def _start(inputs: DecodeInputs, shapes: Shapes) -> _Start:
    import jax.numpy as jnp

    dtypes = {spec.name: spec.dtype for spec in (*inputs.callers, *inputs.encoded)}
    fixed = {name: jnp.zeros(shapes[name], as_carried(dtype)) for name, dtype in dtypes.items() if name in shapes}
    carried = HloDecode(inputs, _no_call, fixed).start()
    return _Start(carried.tokens, dict(carried.slots))


@jax.tree_util.register_dataclass
@dataclass
class _Start:
    tokens: Any
    slots: dict[str, Any]


def _no_call(name: str, _given: Named) -> Named:
    raise AssertionError(name)


def _caller(functions: Mapping[str, Function], weights: _Weights, arrays: Arrays) -> Callable[[str, Named], Named]:
    def call(name: str, given: Named) -> Named:
        function = functions[name]
        made = call_function(
            function, weights.of(function, arrays), [given[spec.name] for spec in function.signature.inputs]
        )
        return {spec.name: array for spec, array in zip(function.signature.outputs, made, strict=True)}

    return call


def _whole(name: str, functions: Mapping[str, Function], inputs: DecodeInputs, shapes: Shapes) -> HloSource:
    """The encoder and every position, in one module."""
    schedule = inputs.schedule
    weights, specs = _Weights(list(functions.values())), _at(inputs.callers, shapes)
    limit, ends = schedule.generation.max_new_tokens, schedule.generation.eos

    def call(arrays: Arrays, parameters: Arrays) -> tuple[Any, ...]:
        import jax.numpy as jnp

        one = _caller(functions, weights, parameters)
        fixed = {spec.name: array for spec, array in zip(specs, arrays, strict=True)}
        if schedule.encoder is not None:
            fixed |= one(schedule.encoder, fixed)
        decode = HloDecode(inputs, one, fixed)
        carried, made = decode.start(), []
        for position in range(limit):
            carried, token = decode.advance(carried, position)
            made.append(token)
        tokens = jnp.concatenate(made, 1)
        return tokens, lengths_of(tokens, ends)

    taken = {spec.name for spec in specs}
    names = [free_name(each, taken) for each in ("tokens", "lengths")]
    outputs = [TensorSpec(name=each, dtype=DType.INT64, shape=()) for each in names]
    return _source(name, call, specs, outputs, weights)


def _partitions(
    model: str, schedule: Decode, functions: Mapping[str, Function], inputs: DecodeInputs, shapes: Shapes
) -> HloSources:
    """The encoder, and one engine for the positions up to each boundary."""
    assert isinstance(schedule.control, Partitioned)
    engines, known, names = dict[str, HloSource](), dict(shapes), list[str]()
    if schedule.encoder is not None:
        engines[schedule.encoder] = _function(functions[schedule.encoder], known)
        known |= _shapes_of(engines[schedule.encoder].signature)
    start = jax.eval_shape(lambda: _start(inputs, known))
    state = {schedule.tokens: start.tokens.shape, **{name: array.shape for name, array in start.slots.items()}}
    steps = {name: functions[name] for name in dict.fromkeys(inputs.steps)}
    for begin, end in pairwise((0, *schedule.control.boundaries)):
        name = f"{model}.until-{end}"
        rows = (state[schedule.tokens][0], 1)
        engines[name] = _partition(name, steps, inputs, {**known, **state}, begin, end, rows)
        names.append(name)
        made = [tuple(int(dim) for dim in spec.shape) for spec in engines[name].signature.outputs]
        state = {
            schedule.tokens: made[1],
            **{s.input: shape for s, shape in zip(schedule.slots, made[3:], strict=True)},
        }
    holders = {step: tuple(names) for step in steps}
    if schedule.first is not None:
        holders[schedule.first] = (names[0],)
    if schedule.encoder is not None:
        holders[schedule.encoder] = (schedule.encoder,)
    return HloSources(engines, holders)


def _partition(
    name: str,
    steps: Mapping[str, Function],
    inputs: DecodeInputs,
    shapes: Shapes,
    begin: int,
    end: int,
    ended: tuple[int, int],
) -> HloSource:
    """Positions `begin` to `end`: see `decode_onnx.partitions`, whose engines take and give the same."""
    import jax.numpy as jnp

    schedule = inputs.schedule
    signature = partition_signature(inputs, begin, end)
    names = [spec.name for spec in signature.inputs]
    place = names.index(schedule.tokens) + 1
    specs = _at(signature.inputs, {**shapes, names[place]: ended})
    needed = [
        steps[step]
        for step in (inputs.steps if begin == 0 < end - 1 else inputs.steps[:1] if begin == 0 else inputs.steps[-1:])
    ]
    weights = _Weights(list(dict.fromkeys(needed)))

    def call(arrays: Arrays, parameters: Arrays) -> tuple[Any, ...]:
        given = dict(zip(names, arrays, strict=True))
        decode = HloDecode(inputs, _caller(steps, weights, parameters), given)
        slots = {slot.input: given[slot.input] for slot in schedule.slots if slot.input in given}
        carried, made = Carried(given[schedule.tokens], given[names[place]], slots), []
        for position in range(begin, end):
            carried, token = decode.advance(carried, position)
            made.append(token)
        kept = [carried.slots[slot.input] for slot in schedule.slots]
        return jnp.concatenate(made, 1), carried.tokens, carried.ended, *kept

    return _source(name, call, specs, signature.outputs, weights)
