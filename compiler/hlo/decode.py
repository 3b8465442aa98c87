"""Positions of a greedy decode, one call of a step each: all of them in one module, or some in a partition.

Where a position is known, so is the length of its cache: each has exactly the computation that it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from artifacts.decode_inputs import DecodeInputs, SizeSource
from artifacts.schedule import CacheSlot
from artifacts.spec import Signature
from compiler.first_slots import first_shape
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
        self._token = as_carried(inputs.signatures[inputs.schedule.step].input(inputs.schedule.tokens).dtype)

    def start(self) -> Carried:
        """What position 0 finds."""
        first = self._inputs.signatures[self._inputs.steps[0]]
        rows, tokens = self._size(self._inputs.rows), self._inputs.first_tokens
        taken = {spec.name for spec in first.inputs}
        return Carried(
            jnp.broadcast_to(jnp.asarray([tokens], self._token), (rows, len(tokens))),
            jnp.zeros((rows, 1), jnp.bool_),
            {slot.input: self._empty(first, slot) for slot in self._schedule.slots if slot.input in taken},
        )

    def advance(self, carried: Carried, position: int) -> tuple[Carried, Any]:
        """What the next position finds, and the token [batch, 1] of this one; rows that have ended get pad."""
        function = self._inputs.step_at(position)
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
        forced = rules.forced(position)
        if forced is not None:
            return jnp.full((1, 1), forced, self._token)
        logits = made[self._schedule.logits]
        if self._schedule.state != "cached":
            row = position if self._schedule.state == "padded" else logits.shape[1] - 1
            logits = logits[:, row : row + 1]
        scores = logits.astype(jnp.float32)
        if rules.suppressed:
            mask = np.zeros(scores.shape[2], np.bool_)
            mask[rules.suppressed_of(len(mask))] = True
            scores = jnp.where(mask, -jnp.inf, scores)
        return first_largest(scores, 2).astype(self._token)

    def _fed(self, tokens: Any, token: Any, position: int) -> Any:
        """What the next step is given."""
        if self._schedule.state == "cached":
            return token
        if self._schedule.state == "recompute":
            return jnp.concatenate([tokens, token], 1)
        return jnp.where(np.arange(self._inputs.padded_length)[None] == position + 1, token, tokens)

    def _empty(self, first: Signature, slot: CacheSlot) -> Any:
        """What the first step finds in a slot."""
        if slot.init.startswith("encoder:"):
            return self._fixed[slot.init.removeprefix("encoder:")]
        shape = [self._size(size) for size in first_shape(self._inputs, slot)]
        return jnp.zeros(shape, as_carried(first.input(slot.input).dtype))

    def _size(self, size: int | SizeSource) -> int:
        return int(self._fixed[size.name].shape[size.axis]) if isinstance(size, SizeSource) else size


def lengths_of(tokens: Any, ends: tuple[int, ...]) -> Any:
    """Tokens of each row, [batch], its end token counted: those that no end token stands before."""
    is_end = jnp.zeros(tokens.shape, jnp.bool_)
    for end in ends:
        is_end = jnp.logical_or(is_end, tokens == end)
    places = jnp.asarray(np.arange(1, tokens.shape[1] + 1), jnp.int32)[None]
    return jnp.min(jnp.where(is_end, places, tokens.shape[1]), 1)
