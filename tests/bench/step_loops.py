"""Decoding as people write it for ONNX Runtime: `session.run` for every token, in a dozen lines of numpy.

`WholeLoop` runs the source file, which knows nothing of what it computed before; `StepLoop` runs the encoder once and
then the step, with the engines of a bundle for `--schedule loop`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from artifacts.bundle import Bundle
from artifacts.schedule import Decode, Generation
from tests.bench.sessions import bare_session

Array = npt.NDArray[Any]


class WholeLoop:
    """Greedy decoding of one image by a source file that takes image and tokens, all of them at every step."""

    def __init__(self, file: Path, generation: Generation) -> None:
        self._session = bare_session(file, 1)
        self._generation = generation

    def __call__(self, image: Array, count: int) -> list[int]:
        image_name, tokens_name = (taken.name for taken in self._session.get_inputs())

        def scores(tokens: Array) -> Array:
            (logits,) = self._session.run(None, {image_name: image, tokens_name: tokens})
            return np.asarray(logits)

        return padded(self._generation, count, scores)


def padded(generation: Generation, count: int, scores: Callable[[Array], Array]) -> list[int]:
    """`count` tokens by `scores`, which maps tokens [1, longest] to [1, longest, vocabulary]."""
    tokens = np.full((1, generation.max_new_tokens), generation.pad)
    tokens[0, 0] = generation.start
    made: list[int] = []
    for position in range(count):
        made.append(int(scores(tokens)[0, position].argmax()))
        if position + 1 < generation.max_new_tokens:
            tokens[0, position + 1] = made[-1]
    return made


class StepLoop:
    """Greedy decoding of one image to a given number of tokens, whichever tokens they are."""

    def __init__(self, root: Path) -> None:
        (model,) = Bundle.open(root).manifest.models.values()
        assert isinstance(model.schedule, Decode)
        assert model.schedule.encoder is not None
        self._schedule = model.schedule
        self._encoder, self._step = (
            bare_session(root / "engines" / f"{name}.onnx", 1, folder=root)
            for name in (model.schedule.encoder, model.schedule.step)
        )
        self._memory = [output.name for output in self._encoder.get_outputs()]
        self._taken = {taken.name: taken.shape for taken in self._step.get_inputs()}

    def __call__(self, image: Array, count: int) -> list[int]:
        memory = dict(zip(self._memory, self._encoder.run(None, {"image": image}), strict=True))
        fixed = {name: array for name, array in memory.items() if name in self._taken}
        return self._cached(fixed, count) if self._schedule.state == "cached" else self._padded(fixed, count)

    def _cached(self, given: dict[str, Array], count: int) -> list[int]:
        schedule = self._schedule
        names = [schedule.logits, *(slot.output for slot in schedule.slots)]
        for slot in schedule.slots:
            heads, size = (self._taken[slot.input][axis] for axis in (1, 3))
            given[slot.input] = np.zeros((1, heads, 0, size), np.float32)
        made = [schedule.generation.start]
        for position in range(count):
            given[schedule.tokens] = np.array([made[-1:]])
            if schedule.position is not None and schedule.position in self._taken:
                given[schedule.position] = np.array(position)
            logits, *rows = self._step.run(names, given)
            given |= {slot.input: array for slot, array in zip(schedule.slots, rows, strict=True)}
            made.append(int(logits[0, -1].argmax()))
        return made[1:]

    def _padded(self, given: dict[str, Array], count: int) -> list[int]:
        schedule = self._schedule

        def scores(tokens: Array) -> Array:
            (logits,) = self._step.run([schedule.logits], {**given, schedule.tokens: tokens})
            return np.asarray(logits)

        return padded(schedule.generation, count, scores)
