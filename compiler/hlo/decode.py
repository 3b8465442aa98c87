"""Positions of a greedy decode, one call of a step each: all of them in one module, or some in a partition.

Where a position is known, so is the length of its cache: each has exactly the computation that it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from artifacts.decode_inputs import DecodeInputs, RowSource
from artifacts.errors import TargetError
from artifacts.schedule import CacheSlot
from artifacts.spec import Signature
from compiler.hlo.module import as_carried
from compiler.hlo.ops.reductions import first_largest

Named = Mapping[str, Any]
Call = Callable[[str, Named], Named]
"""Call a function of the decode, by name, with arrays by the names of its signature."""


@dataclass(frozen=True, eq=False)
class Carried:
    """What goes from position to position.

    `tokens` is what the step is given, `ended` bool [batch, 1] says which rows have, `slots` are by the name of the
    step's input.
    """

    tokens: Any
    ended: Any
    slots: Named


class HloDecode:
    """Writes positions of one decode."""

    def __init__(self, inputs: DecodeInputs, call: Call, fixed: Named) -> None:
        """`fixed` are the caller's inputs and the encoder's outputs by name."""
        self._inputs = inputs
        self._call = call
        self._fixed = fixed
        self._schedule = inputs.schedule
        self._rules = inputs.schedule.generation
        step = inputs.signatures[inputs.schedule.step]
        spec = step.input(inputs.schedule.tokens)
        self._token = as_carried(spec.dtype)
        self._padded = spec.shape[1] if isinstance(spec.shape[1], int) else self._rules.max_new_tokens

    def start(self) -> Carried:
        """What position 0 finds."""
        first = self._inputs.signatures[self._inputs.steps[0]]
        rows, tokens = self._rows(), [self._rules.start]
        if self._schedule.state == "padded":
            tokens += [self._rules.pad] * (self._padded - 1)
        taken = {spec.name for spec in first.inputs}
        return Carried(
            jnp.broadcast_to(jnp.asarray([tokens], self._token), (rows, len(tokens))),
            jnp.zeros((rows, 1), jnp.bool_),
            {slot.input: self._empty(first, slot, rows) for slot in self._schedule.slots if slot.input in taken},
        )

    def advance(self, carried: Carried, position: int) -> tuple[Carried, Any]:
        """What the next position finds, and the token [batch, 1] of this one; rows that have ended get pad."""
        function = self._inputs.steps[0] if position == 0 else self._inputs.steps[-1]
        given = {**self._fixed, **carried.slots, self._schedule.tokens: carried.tokens}
        for spec in self._inputs.signatures[function].inputs:
            if spec.name == self._schedule.position:
                rows = carried.tokens.shape[0]
                shape = [dim if isinstance(dim, int) else rows for dim in spec.shape]
                given[spec.name] = jnp.full(shape, position, as_carried(spec.dtype))
        made = self._call(function, given)
        chosen = self._chosen(made, position)
        token = jnp.where(carried.ended, jnp.asarray(self._rules.pad, self._token), chosen)
        ended = carried.ended
        for end in self._rules.eos:
            ended = jnp.logical_or(ended, chosen == end)
        slots = {slot.input: made[slot.output] for slot in self._schedule.slots}
        return Carried(self._fed(carried.tokens, token, position), ended, slots), token

    def _chosen(self, made: Named, position: int) -> Any:
        """The token [batch, 1] with the highest score, or the one that is forced here."""
        rules = self._rules
        forced = {0: rules.forced_first, rules.max_new_tokens - 1: rules.forced_last}.get(position)
        if forced is not None:
            return jnp.full((1, 1), forced, self._token)
        logits = made[self._schedule.logits]
        if self._schedule.state != "cached":
            row = position if self._schedule.state == "padded" else logits.shape[1] - 1
            logits = logits[:, row : row + 1]
        scores = logits.astype(jnp.float32)
        if rules.suppressed:
            mask = np.zeros(scores.shape[2], np.bool_)
            mask[[token for token in rules.suppressed if token < len(mask)]] = True
            scores = jnp.where(mask, -jnp.inf, scores)
        return first_largest(scores, 2).astype(self._token)

    def _fed(self, tokens: Any, token: Any, position: int) -> Any:
        """What the next step is given."""
        if self._schedule.state == "cached":
            return token
        if self._schedule.state == "recompute":
            return jnp.concatenate([tokens, token], 1)
        return jnp.where(np.arange(self._padded)[None] == position + 1, token, tokens)

    def _rows(self) -> int:
        rows = self._inputs.rows
        return int(self._fixed[rows.name].shape[rows.axis]) if isinstance(rows, RowSource) else rows

    def _empty(self, first: Signature, slot: CacheSlot, rows: int) -> Any:
        """What the first step finds in a slot."""
        if slot.init.startswith("encoder:"):
            return self._fixed[slot.init.removeprefix("encoder:")]
        spec = first.input(slot.input)
        shape = []
        for axis, dim in enumerate(spec.shape):
            if axis == slot.batch_axis:
                shape.append(rows)
            elif axis == slot.axis and slot.init == "empty":
                shape.append(0)
            else:
                shape.append(dim if isinstance(dim, int) else self._size(first, dim, slot))
        return jnp.zeros(shape, as_carried(spec.dtype))

    def _size(self, first: Signature, symbol: str, slot: CacheSlot) -> int:
        for spec in first.inputs:
            if spec.name in self._fixed and symbol in spec.shape:
                return int(self._fixed[spec.name].shape[spec.shape.index(symbol)])
        message = f"nothing says how large {symbol!r} is in the first step"
        raise TargetError.of("emit", slot.input, message, "compile with that dimension fixed")


def lengths_of(tokens: Any, ends: tuple[int, ...]) -> Any:
    """Tokens of each row, [batch], its end token counted: those that no end token stands before."""
    is_end = jnp.zeros(tokens.shape, jnp.bool_)
    for end in ends:
        is_end = jnp.logical_or(is_end, tokens == end)
    places = jnp.asarray(np.arange(1, tokens.shape[1] + 1), jnp.int32)[None]
    return jnp.min(jnp.where(is_end, places, tokens.shape[1]), 1)
