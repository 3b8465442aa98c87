"""One position of a greedy decode: call the step, choose a token, hand on the state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from artifacts.decode_inputs import SizeSource
from artifacts.dtype import DType
from artifacts.errors import TargetError
from artifacts.schedule import CacheSlot, Decode
from artifacts.spec import Signature, TensorSpec
from compiler.decode_onnx.functions import DecodeFunctions
from compiler.decode_onnx.scope import Scope, onnx_type
from compiler.first_slots import first_shape


@dataclass(frozen=True, eq=False)
class Carried:
    """What goes from position to position.

    `tokens` is what the step is given: [batch, 1], all so far, or all at the padded length; `ended` bool [batch, 1]
    says which rows have; `slots` are by the name of the step's input; `full_products` int64 [] counts the positions
    at which the schedule's choice computed all scores, and is None without one.
    """

    tokens: ir.Value
    ended: ir.Value
    slots: Mapping[str, ir.Value]
    full_products: ir.Value | None = None

    @property
    def values(self) -> list[ir.Value]:
        """Everything, in the order of the fields: what a Loop carries."""
        counted = [] if self.full_products is None else [self.full_products]
        return [self.tokens, self.ended, *self.slots.values(), *counted]

    def like(self, values: Sequence[ir.Value]) -> Carried:
        """The same of other values, in the order of `values`."""
        slots = dict(zip(self.slots, values[2:], strict=False))
        return Carried(values[0], values[1], slots, None if self.full_products is None else values[-1])


@dataclass(frozen=True, eq=False)
class Position:
    """Where a step is: an int64 scalar of the graph, and its number where that is known."""

    value: ir.Value
    known: int | None


class Positions:
    """Writes positions of one decode into a scope."""

    def __init__(self, functions: DecodeFunctions, fixed: Mapping[str, ir.Value]) -> None:
        """`fixed` are the caller's inputs and the encoder's outputs by name."""
        self._functions = functions
        self._fixed = fixed
        self._schedule: Decode = functions.inputs.schedule
        self._rules = self._schedule.generation
        self._inputs = functions.inputs
        step = functions.inputs.signatures[self._schedule.step]
        self._token = step.input(self._schedule.tokens).dtype
        self._scores = step.output(self._schedule.logits)

    def start(self, scope: Scope) -> Carried:
        """What position 0 finds."""
        first = self._inputs.signatures[self._inputs.steps[0]]
        rows = self._size(scope, self._inputs.rows)
        column = scope.op("Concat", rows, scope.constant([1]), axis=0)
        taken = {spec.name for spec in first.inputs}
        return Carried(
            scope.op("Expand", self._tokens(scope, [self._inputs.first_tokens]), column),
            scope.op("Expand", scope.constant([[False]], np.bool_), column),
            {slot.input: self._empty(scope, first, slot, rows) for slot in self._schedule.slots if slot.input in taken},
            self.none_yet(scope),
        )

    def none_yet(self, scope: Scope) -> ir.Value | None:
        """The count of full products before the first position, if they are counted."""
        return None if self._schedule.choice is None else scope.constant(0)

    def advance(self, scope: Scope, carried: Carried, position: Position) -> tuple[Carried, ir.Value]:
        """What the next position finds, and the token [batch, 1] of this one; rows that have ended get pad."""
        function = self._inputs.steps[-1] if position.known is None else self._inputs.step_at(position.known)
        made = self.call(scope, function, carried, position)
        chosen, full_products = self.chosen(scope, made, carried, position)
        token = scope.op("Where", carried.ended, self._tokens(scope, [[self._rules.pad]]), chosen)
        ended = scope.op("Or", carried.ended, self.are_ends(scope, chosen))
        slots = {slot.input: made[slot.output] for slot in self._schedule.slots}
        return Carried(self._fed(scope, carried.tokens, token, position), ended, slots, full_products), token

    def call(self, scope: Scope, function: str, carried: Carried, position: Position) -> dict[str, ir.Value]:
        """What a step or a window gives of the tokens that are carried, the first of which has this position."""
        given = {**self._fixed, **carried.slots, self._schedule.tokens: carried.tokens}
        for spec in self._inputs.signatures[function].inputs:
            if spec.name == self._schedule.position:
                given[spec.name] = _as_input(scope, position, spec, carried.tokens)
        return scope.call(function, given)

    def are_ends(self, scope: Scope, chosen: ir.Value) -> ir.Value:
        """Which of the tokens end a row, bool of their shape."""
        first, *others = (scope.op("Equal", chosen, self._tokens(scope, [[end]])) for end in self._rules.eos)
        for other in others:
            first = scope.op("Or", first, other)
        return first

    def likeliest(self, scope: Scope, made: Mapping[str, ir.Value], position: Position) -> ir.Value:
        """The tokens with the highest of the scores that a function gave, as steps take them."""
        return self._as_tokens(scope, self._likeliest(scope, made[self._schedule.logits], position))

    def chosen(
        self, scope: Scope, made: Mapping[str, ir.Value], carried: Carried, position: Position, count: int = 1
    ) -> tuple[ir.Value, ir.Value | None]:
        """The tokens [batch, count] with the highest scores, or those that are forced; the full products by now.

        Of several tokens, which only one row has, the position is theirs, int64 [1, count].
        """
        rules, full_products = self._rules, carried.full_products
        forced = None if position.known is None else rules.forced(position.known)
        if forced is not None:
            return self._tokens(scope, [[forced]]), full_products
        if self._schedule.choice is None or full_products is None:
            chosen = self._likeliest(scope, made[self._schedule.logits], position)
        else:
            chosen, full = self._by_choice(scope, self._schedule.choice, made, carried.ended, count)
            full_products = scope.op("Add", full_products, full)
        chosen = self._as_tokens(scope, chosen)
        if position.known is None:
            for place in dict.fromkeys((0, rules.max_new_tokens - 1)):
                forced = rules.forced(place)
                if forced is not None:
                    here = scope.op("Equal", position.value, scope.constant(place))
                    chosen = scope.op("Where", here, self._tokens(scope, [[forced]]), chosen)
        return chosen, full_products

    def _by_choice(
        self, scope: Scope, choice: str, made: Mapping[str, ir.Value], ended: ir.Value, count: int
    ) -> tuple[ir.Value, ir.Value]:
        """What the function chooses, int64 [batch, count], and whether it computed all scores."""
        callee = self._functions.callees[choice]
        hidden, taken = callee.inputs
        states = made[hidden]
        if count > 1:  # to the function each token is a row
            states = scope.op("Reshape", states, scope.constant([count, 1, -1]))
            ended = scope.op("Expand", ended, scope.constant([count, 1]))
        results = scope.call(choice, {hidden: states, taken: ended})
        chosen, full = (results[name] for name in callee.outputs)
        return chosen if count == 1 else scope.op("Reshape", chosen, scope.constant([1, count])), full

    def _as_tokens(self, scope: Scope, chosen: ir.Value) -> ir.Value:
        return chosen if self._token == DType.INT64 else scope.op("Cast", chosen, to=onnx_type(self._token))

    def _likeliest(self, scope: Scope, logits: ir.Value, position: Position) -> ir.Value:
        """The place of the highest score [batch, 1], among tokens that are not suppressed."""
        if self._schedule.state != "cached":
            row = scope.constant([-1])
            if self._schedule.state == "padded":
                row = scope.op("Unsqueeze", position.value, scope.constant([0]))
            logits = scope.op("Gather", logits, row, axis=1)
        if self._scores.dtype not in (DType.FLOAT32, DType.FLOAT64):
            logits = scope.op("Cast", logits, to=ir.DataType.FLOAT)
        if self._rules.suppressed:
            wide = np.float64 if self._scores.dtype == DType.FLOAT64 else np.float32
            logits = scope.op("Where", self._suppressed(scope), scope.constant(-np.inf, wide), logits)
        return scope.op("ArgMax", logits, axis=2, keepdims=0)

    def _fed(self, scope: Scope, tokens: ir.Value, token: ir.Value, position: Position) -> ir.Value:
        """What the next step is given."""
        if self._schedule.state == "cached":
            return token
        if self._schedule.state == "recompute":
            return scope.op("Concat", tokens, token, axis=1)
        places = np.arange(self._inputs.padded_length)[None]
        if position.known is not None:
            here = scope.constant(places == position.known + 1, np.bool_)
        else:
            here = scope.op("Equal", scope.constant(places - 1), position.value)
        return scope.op("Where", here, token, tokens)

    def _suppressed(self, scope: Scope) -> ir.Value:
        vocabulary = self._scores.shape[2]
        if isinstance(vocabulary, str):
            message = "tokens are suppressed, and the size of the vocabulary is not fixed"
            raise TargetError.of("emit", self._schedule.step, message, "use --schedule loop")
        mask = np.zeros(vocabulary, np.bool_)
        mask[self._rules.suppressed_of(vocabulary)] = True
        return scope.constant(mask, np.bool_)

    def _empty(self, scope: Scope, first: Signature, slot: CacheSlot, rows: ir.Value) -> ir.Value:
        """What the first step finds in a slot."""
        if slot.init.startswith("encoder:"):
            return self._fixed[slot.init.removeprefix("encoder:")]
        sizes = [
            rows if size == self._inputs.rows else self._size(scope, size) for size in first_shape(self._inputs, slot)
        ]
        shape = scope.op("Concat", *sizes, axis=0)
        dtype = first.input(slot.input).dtype
        return scope.op("ConstantOfShape", shape, value=ir.tensor(np.zeros(1, dtype.numpy), dtype=onnx_type(dtype)))

    def _size(self, scope: Scope, size: int | SizeSource) -> ir.Value:
        """A size, int64 [1]."""
        if isinstance(size, SizeSource):
            return scope.op("Shape", self._fixed[size.name], start=size.axis, end=size.axis + 1)
        return scope.constant([size])

    def _tokens(self, scope: Scope, tokens: Sequence[Sequence[int]]) -> ir.Value:
        return scope.constant(tokens, self._token.numpy)


def _as_input(scope: Scope, position: Position, spec: TensorSpec, tokens: ir.Value) -> ir.Value:
    """The position in the type and shape in which a step takes it, one number for all rows."""
    value = position.value
    if spec.dtype != DType.INT64:
        value = scope.op("Cast", value, to=onnx_type(spec.dtype))
    if not spec.rank:
        return value
    rows = scope.op("Shape", tokens, start=0, end=1)
    shape = [scope.constant([dim]) if isinstance(dim, int) else rows for dim in spec.shape]
    return scope.op("Expand", value, scope.op("Concat", *shape, axis=0))
