"""What an engine can do for its caller, whatever its kind.

Buffers live where the engine lives (host memory, a device), so that a cache or an encoder output is handed
from call to call without a visit to numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from artifacts.dtype import DType
from artifacts.manifest import Access, EngineEntry
from artifacts.spec import Signature, TensorSpec

Array = npt.NDArray[Any]


class Buffer(Protocol):
    """A tensor where the engine keeps it."""

    @property
    def dtype(self) -> DType:
        """Logical element type."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the dimensions."""


class EngineRunner(Protocol):
    """One opened engine. Arrays are of the spec's carrier type, C-contiguous, in the spec's shape.

    A buffer belongs to runners of the same kind. Every method that runs the engine raises RunError if the
    engine refuses its inputs or fails on them.
    """

    @property
    def kind(self) -> str:
        """The kind of engine: buffers go between runners of one kind."""

    @property
    def signature(self) -> Signature:
        """Inputs and outputs, as the manifest has them."""

    def alloc(self, spec: TensorSpec, shape: tuple[int, ...]) -> Buffer:
        """A buffer of zeros; `shape` gives the sizes of the spec's symbols."""

    def upload(self, spec: TensorSpec, array: Array) -> Buffer:
        """A buffer with the contents of an array. It may share the array's memory: leave that alone."""

    def download(self, buffer: Buffer) -> Array:
        """The contents of a buffer, in the carrier type. It may share the buffer's memory."""

    def run(self, inputs: Mapping[str, Buffer]) -> dict[str, Buffer]:
        """Run once, with outputs in new buffers."""

    def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> Callable[[], None]:
        """A call that reads and writes these very buffers each time; outputs need their exact shape."""

    def call(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once from arrays to arrays, by the shortest way."""

    def close(self) -> None:
        """Give up the engine's memory. The runner and its buffers must not be used any more."""


class Opener(Protocol):
    """The function `open_engine` that every module of an engine kind has."""

    def __call__(self, root: Path, entry: EngineEntry, threads: int | None, weights: Access) -> EngineRunner:
        """Open the engine of a bundle at `root`.

        `threads` overrides the number of threads that the entry asks for; `weights` is one of the ways in which the
        entry says that it can take its weights. Raises BundleError if the engine
        cannot be opened, RunError if a cache of the host cannot be used, MissingToolError if its runtime is not
        installed.
        """
