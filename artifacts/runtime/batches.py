"""Decodes of many rows, so many at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from artifacts.decode_inputs import size_of_rows
from artifacts.runtime.answer import Answer, Drafted
from artifacts.spec import Signature

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]


@dataclass(frozen=True)
class Rows:
    """Which axis of each of a model's inputs counts rows, by name, and what fills the tokens of rows that end."""

    axes: Mapping[str, int]
    pad: int

    @classmethod
    def of(cls, signature: Signature, pad: int) -> Rows | None:
        """The rows of a decode, which are those of its first output, tokens [rows, n].

        None if their number is fixed, no input tells it, or another size of an input depends on it.
        """
        symbol = signature.outputs[0].shape[0]
        if isinstance(symbol, int):
            return None
        places = {spec.name: [size_of_rows(symbol, dim) for dim in spec.shape] for spec in signature.inputs}
        axes = {name: found.index(True) for name, found in places.items() if True in found}
        if not axes or any(found.count(True) > 1 or None in found for found in places.values()):
            return None
        return cls(axes, pad)

    def count(self, arrays: Arrays) -> int:
        """How many rows a request has."""
        name, axis = next(iter(self.axes.items()))
        return int(arrays[name].shape[axis])

    def cut(self, arrays: Arrays, most: int) -> Iterator[dict[str, Array]]:
        """A request as requests of at most so many rows, at least one of them."""
        for begin in range(0, max(self.count(arrays), 1), most):
            rows = slice(begin, begin + most)
            yield {
                name: np.ascontiguousarray(array[(slice(None),) * self.axes[name] + (rows,)])
                if name in self.axes
                else array
                for name, array in arrays.items()
            }

    def alike(self, requests: Sequence[Arrays]) -> list[list[int]]:
        """Which requests can be one: equal in all but their rows. Those that come first, first."""
        groups: dict[tuple[object, ...], list[int]] = {}
        for number, arrays in enumerate(requests):
            key = tuple(
                (*array.shape[: self.axes[name]], *array.shape[self.axes[name] + 1 :])
                if name in self.axes
                else (array.shape, array.tobytes())
                for name, array in arrays.items()
            )
            groups.setdefault(key, []).append(number)
        return list(groups.values())

    def together(self, requests: Sequence[Arrays]) -> dict[str, Array]:
        """Requests that are alike as one, their rows one after the other."""
        return {
            name: np.concatenate([arrays[name] for arrays in requests], self.axes[name]) if name in self.axes else array
            for name, array in requests[0].items()
        }

    def joined(self, answers: Sequence[Answer]) -> Answer:
        """The answers to parts of a request as the answer to all of it."""
        longest = max(answer.outputs["tokens"].shape[1] for answer in answers)
        outputs = {
            name: np.concatenate(
                [
                    _widened(answer.outputs[name], longest, self.pad) if name == "tokens" else answer.outputs[name]
                    for answer in answers
                ]
            )
            for name in answers[0].outputs
        }
        calls = {name: sum(answer.calls[name] for answer in answers) for name in answers[0].calls}
        counted = [answer.full_products for answer in answers if answer.full_products is not None]
        guessed = [answer.drafted for answer in answers if answer.drafted is not None]
        return Answer(outputs, calls, sum(counted) if counted else None, sum(guessed, Drafted()) if guessed else None)


def answer_rows(outputs: Arrays, begin: int, end: int) -> dict[str, Array]:
    """Some rows of what a decode gave, as a decode of these rows alone gives them."""
    found = {name: array[begin:end] for name, array in outputs.items()}
    return found | {"tokens": found["tokens"][:, : int(found["lengths"].max(initial=0))]}


def _widened(tokens: Array, length: int, pad: int) -> Array:
    return np.pad(tokens, ((0, 0), (0, length - tokens.shape[1])), constant_values=pad)
