"""Beam search: the likeliest few continuations of each request side by side, as transformers' `generate` defines it.

Of each request's `width * vocabulary` continuations the best few are looked at. Among the first `width` of them,
those that end are finished, with the score sum(log p) / length ** length_penalty; of those that do not end the best
`width` go on. A request is closed once its running rows cannot come before its finished ones, by an estimate that
`early_stopping` chooses: False reckons with the length so far, "never" with the most tokens if the penalty favours
length, and True closes as soon as `width` rows are finished.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from artifacts.errors import RunError
from artifacts.schedule import Beams, Generation

Array = npt.NDArray[Any]
Tokens = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_NEVER = -1.0e9
"""A score that loses against every real one, and of which two can still be told apart by what is added to them."""


class BeamSearch:
    """The beams of one decode, [batch, width], and the best sequences that have ended so far."""

    def __init__(self, generation: Generation, beams: Beams, batch: int) -> None:
        self._generation, self._beams = generation, beams
        self._ends: Tokens = np.array(generation.eos, np.int64)
        shape = (batch, beams.width)
        self._tokens: Tokens = np.full((*shape, 1 + generation.max_new_tokens), generation.pad, np.int64)
        self._tokens[..., 0] = generation.start
        self._scores: Floats = np.full(shape, _NEVER)
        self._scores[:, 0] = 0.0  # the rows of a request start equal: only one of them may count
        self._done_tokens = self._tokens.copy()
        self._done_scores: Floats = np.full(shape, _NEVER)
        self._done_lengths: Tokens = np.zeros(shape, np.int64)
        self._open: Flags = np.ones(batch, np.bool_)
        self._order: Tokens | None = None
        self._position = 0

    @property
    def width(self) -> int:
        """Rows per request."""
        return self._beams.width

    @property
    def position(self) -> int:
        """Number of tokens generated so far."""
        return self._position

    @property
    def finished(self) -> bool:
        """True if no request can get a better sequence, or none may grow."""
        return not self._open.any() or self._position == self._generation.max_new_tokens

    @property
    def fed(self) -> Tokens:
        """Start token and tokens so far, int64 [batch * width, position + 1]."""
        return self._tokens[:, :, : self._position + 1].reshape(-1, self._position + 1)

    @property
    def order(self) -> Tokens | None:
        """For each row, which row of the step before it continues, int64 [batch * width]; None: its own."""
        return self._order

    def append(self, scores: Array) -> None:
        """Extend every beam by one token, by `scores`, float [batch * width, vocabulary].

        Raises RunError if a row of a request that is not closed has a score that is NaN, or no finite maximum.
        """
        scores = self._usable(scores)
        batch, width = self._scores.shape
        totals = (self._log_probabilities(scores).reshape(batch, width, -1) + self._scores[..., None]).reshape(
            batch, -1
        )
        # So many that `width` are left to go on even if the best of every row are all its end tokens.
        found = _best(totals, max(2, 1 + len(self._ends)) * width)
        totals = np.take_along_axis(totals, found, 1)
        parents, chosen = np.divmod(found, scores.shape[1])
        tokens = np.take_along_axis(self._tokens, parents[..., None], 1)
        self._position += 1
        tokens[..., self._position] = chosen
        last = self._position == self._generation.max_new_tokens
        ended: Flags = np.isin(chosen, self._ends) | last
        self._keep_ended(tokens, totals, ended)
        totals = np.where(ended, totals + _NEVER, totals)
        running = _best(totals, width)
        self._scores = np.take_along_axis(totals, running, 1)
        self._tokens = np.take_along_axis(tokens, running[..., None], 1)
        rows = np.take_along_axis(parents, running, 1) + width * np.arange(batch)[:, None]
        self._order = rows.reshape(-1)
        self._open &= self._may_improve()

    def result(self) -> dict[str, Array]:
        """Of each request the best: `tokens` int64 [batch, n], `lengths` int64 [batch], `scores` float32 [batch].

        End tokens are kept and rows filled with pad; a score is sum(log p) / length ** length_penalty.
        """
        lengths = self._done_lengths[:, 0]
        longest = int(lengths.max(initial=0))
        tokens = self._done_tokens[:, 0, 1 : longest + 1].copy()
        return {"tokens": tokens, "lengths": lengths.copy(), "scores": self._done_scores[:, 0].astype(np.float32)}

    def _usable(self, scores: Array) -> Array:
        """The scores, with those of closed requests, whatever they are, replaced by zeros."""
        rows = np.repeat(self._open, self.width)
        broken = np.flatnonzero(rows & ~np.isfinite(scores.max(axis=1, initial=-np.inf)))
        if broken.size:
            message = f"the logits are NaN, infinite, or all minus infinity, at position {self._position}"
            row = f"row {broken[0] // self.width} of the batch"
            raise RunError.of("decode", row, message, "check the inputs for NaN")
        return scores if rows.all() else np.where(rows[:, None], scores, np.zeros((), scores.dtype))

    def _log_probabilities(self, scores: Array) -> Floats:
        rules = self._generation
        forced = rules.forced(self._position)
        if forced is not None:
            return np.where(np.arange(scores.shape[1]) == forced, 0.0, np.full(scores.shape, -np.inf))
        shifted = scores.astype(np.float64) - scores.max(axis=1, keepdims=True).astype(np.float64)
        found: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        found[:, rules.suppressed_of(scores.shape[1])] = -np.inf
        return found

    def _keep_ended(self, tokens: Tokens, totals: Floats, ended: Flags) -> None:
        """Merge what ended among the first `width` candidates into what had ended before; the best stay."""
        may = self._open[:, None] & ended & (np.arange(ended.shape[1]) < self.width)
        new = np.where(may, totals / self._position**self._beams.length_penalty, 2 * _NEVER)
        scores = np.concatenate([self._done_scores, new], axis=1)
        best = _best(scores, self.width)
        self._done_scores = np.take_along_axis(scores, best, 1)
        lengths = np.concatenate([self._done_lengths, np.where(may, self._position, 0)], axis=1)
        self._done_lengths = np.take_along_axis(lengths, best, 1)
        every = np.concatenate([self._done_tokens, tokens], axis=1)
        self._done_tokens = np.take_along_axis(every, best[..., None], 1)

    def _may_improve(self) -> Flags:
        """Per request: whether fewer than `width` have ended, or a running row could still come before the worst."""
        beams, length = self._beams, self._position
        growing: Flags = (self._done_lengths == 0).any(axis=1)
        if beams.early_stopping is True:
            return growing
        if beams.early_stopping == "never" and beams.length_penalty > 0:
            length = self._generation.max_new_tokens
        possible = self._scores[:, 0] / length**beams.length_penalty
        better: Flags = possible > self._done_scores.min(axis=1)
        return growing | better


def _best(scores: Floats, count: int) -> Tokens:
    """Where the highest of each row are, the highest first and of equals the first: int64 [rows, count or fewer]."""
    count = min(count, scores.shape[1])
    if scores.shape[1] > 8 * count:  # a vocabulary: sorting all of it costs more than the step
        near = np.sort(np.argpartition(scores, -count, axis=1)[:, -count:], axis=1)
        order = np.argsort(-np.take_along_axis(scores, near, 1), axis=1, kind="stable")
        found: Tokens = np.take_along_axis(near, order, 1)
        return found
    return np.argsort(-scores, axis=1, kind="stable")[:, :count]
