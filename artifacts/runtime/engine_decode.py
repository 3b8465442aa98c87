"""Decoding by an engine that loops by itself: one call per request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from artifacts.engines import EngineRunner
from artifacts.errors import BundleError
from artifacts.schedule import Decode
from artifacts.spec import Signature

Array = npt.NDArray[Any]


class EngineDecoder:
    """Runs a `Decode` whose control is `engine` or `unrolled`.

    The engine takes the caller's inputs and gives `tokens` int64 [batch, n] and `lengths` int64 [batch].
    """

    def __init__(self, schedule: Decode, runner: EngineRunner) -> None:
        """Raises BundleError if the engine does not give tokens and lengths."""
        self._runner = runner
        names = [spec.name for spec in runner.signature.outputs]
        if names != ["tokens", "lengths"]:
            raise BundleError.of("decode", schedule.step, f"its engine gives {names}, not tokens and lengths")

    @property
    def signature(self) -> Signature:
        """The engine's own."""
        return self._runner.signature

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Decode from checked inputs. Tokens end with the longest row, as when the host loops."""
        results = self._runner.call(arrays)
        longest = int(results["lengths"].max(initial=0))
        return {"tokens": results["tokens"][:, :longest], "lengths": results["lengths"]}
