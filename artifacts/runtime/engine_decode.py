"""Decoding by an engine that loops by itself: one call per request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from artifacts.dtype import DType
from artifacts.engines import EngineRunner
from artifacts.errors import BundleError
from artifacts.runtime.answer import Answer, Drafted
from artifacts.schedule import Decode
from artifacts.spec import Signature

Array = npt.NDArray[Any]


class EngineDecoder:
    """Runs a `Decode` whose control is `engine` or `unrolled`.

    The engine takes the caller's inputs and gives tokens int64 [batch, n] and lengths int64 [batch], in this order
    and under names of its own; after them, if a function chooses, how often that computed all scores, int64 []; and if
    it guesses tokens, how many it guessed and how many of these were right, int64 [] each.
    """

    def __init__(self, schedule: Decode, runner: EngineRunner) -> None:
        """Raises BundleError if the engine does not give tokens and lengths."""
        self._runner = runner
        self._step = schedule.step
        given = runner.signature.outputs
        self._chooses, self._drafts = schedule.choice is not None, schedule.draft is not None
        ranks = [2, 1, *[0] * self._chooses, *[0, 0] * self._drafts]
        if [(spec.dtype, spec.rank) for spec in given] != [(DType.INT64, rank) for rank in ranks]:
            found = ", ".join(map(str, given))
            raise BundleError.of("decode", schedule.step, f"its engine gives {found}, not tokens and lengths")
        tokens, lengths = (
            spec.model_copy(update={"name": name}) for spec, name in zip(given, ("tokens", "lengths"), strict=False)
        )
        self.signature = Signature(inputs=runner.signature.inputs, outputs=(tokens, lengths))

    def run(self, arrays: Mapping[str, Array]) -> Answer:
        """Decode from checked inputs. Tokens end with the longest row, as when the host loops."""
        tokens, lengths, *counted = self._runner.call(arrays).values()
        longest = int(lengths.max(initial=0))
        outputs = {"tokens": tokens[:, :longest], "lengths": lengths}
        full_products = int(counted[0]) if self._chooses else None
        drafted = Drafted(*map(int, counted[-2:])) if self._drafts else None
        return Answer(outputs, {self._step: 1}, full_products, drafted)
