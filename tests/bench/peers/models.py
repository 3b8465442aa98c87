"""The models that all decode: sizes by which they are made, and what a step of theirs has to read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

SOURCE = 32
"""Tokens that are read before the first is written."""

LENGTHS = (16, 48, 75)
BATCHES = (1, 8)

MODEL_FILE = "model.onnx"
"""One graph of encoder and decoder: what Unspool compiles."""

FLOAT = 4

GUESSES = 5
"""Tokens that Unspool guesses at a time. Written down: contestants do without what says it to a compilation."""

_LARGE_CACHE = 1 << 26

Reads: TypeAlias = Literal["float32", "bfloat16", "int8", "two-stage", "drafted"]
"""In what form a contestant reads the weights; `two-stage`: float32 but for the head, of which the rows of candidates
are left out; `drafted`: in 8 bits for every guess, and so once for all of them and one token more, if all are right."""


@dataclass(frozen=True)
class PeerModel:
    """An encoder and a decoder of `layers` layers each, with seeded random weights.

    `end` is never chosen, so that all texts have the length that is asked for.
    """

    name: str
    what: str
    kind: Literal["marian", "t5"]
    vocabulary: int
    size: int
    layers: int
    heads: int
    inner: int
    start: int
    end: int

    @property
    def is_in_memory(self) -> bool:
        """Whether a step's weights are too many for a processor's cache, so that memory sets how fast it can be."""
        return self.step_bytes("float32") > _LARGE_CACHE

    @property
    def pad(self) -> int:
        """Marian and T5 both start with it."""
        return self.start

    @property
    def body(self) -> int:
        """Weights that a step multiplies with before the head.

        Self-attention has four square matrices; of those of cross-attention two belong to what is done once a text.
        """
        return self.layers * (6 * self.size**2 + 2 * self.size * self.inner)

    @property
    def head(self) -> int:
        """Weights of the product that gives the scores."""
        return self.vocabulary * self.size

    def step_bytes(self, reads: Reads) -> int:
        """What a step reads if it reads every weight once, and nothing else."""
        match reads:
            case "float32":
                return FLOAT * (self.body + self.head)
            case "bfloat16":
                return 2 * (self.body + self.head)
            case "int8":
                return self.body + self.head
            case "drafted":
                return (GUESSES * self.step_bytes("int8") + self.step_bytes("two-stage")) // (GUESSES + 1)
            case "two-stage":
                # A byte for a weight of the head, and a scale, a ceiling and two bounds for a token.
                return FLOAT * self.body + self.head + 4 * FLOAT * self.vocabulary


MODELS = (
    PeerModel("small", "small", "marian", 6000, 256, 4, 4, 1024, start=5999, end=0),
    PeerModel("marian", "Marian 60M", "marian", 32000, 512, 6, 8, 2048, start=31999, end=0),
    PeerModel("t5", "T5 60M", "t5", 32128, 512, 6, 8, 2048, start=0, end=1),
)


def model_named(name: str) -> PeerModel:
    """The model of that name."""
    return next(model for model in MODELS if model.name == name)


def texts(model: PeerModel, rows: int) -> npt.NDArray[Any]:
    """What is to be read: int64 [rows, SOURCE], every row another, no token of them special."""
    return np.random.default_rng(0).integers(5, model.vocabulary - 5, (rows, SOURCE))
