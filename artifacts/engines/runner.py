"""What runners of every kind do alike: they keep one engine, and take no buffers but their own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from artifacts.dtype import DType
from artifacts.engines.engine import Buffer
from artifacts.errors import RunError
from artifacts.manifest import EngineEntry
from artifacts.spec import Signature, TensorSpec

Array = npt.NDArray[Any]
OwnBuffer = TypeVar("OwnBuffer", bound=Buffer)


class Runner(ABC, Generic[OwnBuffer]):
    """An open engine of a runtime's, until it is closed. Subclasses are an `engine.EngineRunner` each."""

    def __init__(self, engine: Any, entry: EngineEntry, buffers: type[OwnBuffer]) -> None:
        self._engine = engine
        self._entry = entry
        self._buffers = buffers

    @property
    def signature(self) -> Signature:
        """Inputs and outputs, as the manifest has them."""
        return self._entry.signature

    def alloc(self, spec: TensorSpec, shape: tuple[int, ...]) -> OwnBuffer:
        """A buffer of zeros."""
        return self.upload(spec, np.zeros(shape, (spec.carrier or spec.dtype).numpy))

    @abstractmethod
    def upload(self, spec: TensorSpec, array: Array) -> OwnBuffer:
        """See `engine.EngineRunner`."""

    @abstractmethod
    def download(self, buffer: Buffer) -> Array:
        """See `engine.EngineRunner`."""

    @abstractmethod
    def run(self, inputs: Mapping[str, Buffer]) -> dict[str, Buffer]:
        """See `engine.EngineRunner`."""

    def call(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once from arrays to arrays."""
        specs = self.signature.inputs
        made = self.run({spec.name: self.upload(spec, inputs[spec.name]) for spec in specs if spec.name in inputs})
        return {name: self.download(buffer) for name, buffer in made.items()}

    def close(self) -> None:
        """Let go of the engine."""
        self._engine = None

    def _live(self) -> Any:
        """The engine. Raises RunError after `close`."""
        if self._engine is None:
            raise self._failed("the engine is closed")
        return self._engine

    def _own(self, buffer: Buffer) -> OwnBuffer:
        if not isinstance(buffer, self._buffers):
            raise self._failed(f"cannot use a {type(buffer).__name__} of another engine")
        return buffer

    def _failed(self, message: str) -> RunError:
        return RunError.of("run", self._entry.source, message)


@dataclass(frozen=True, eq=False)
class ValueBuffer:
    """A tensor of a library's, which knows its own shape."""

    value: Any
    dtype: DType

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the dimensions."""
        return tuple(self.value.shape)


OwnValue = TypeVar("OwnValue", bound=ValueBuffer)


class ValueRunner(Runner[OwnValue]):
    """A function of tensors: it takes those of the signature's very shapes, in order, and gives others."""

    def run(self, inputs: Mapping[str, Buffer]) -> dict[str, Buffer]:
        """Run once."""
        self._live()
        given = []
        for spec in self.signature.inputs:
            if spec.name not in inputs:
                raise self._failed(f"has no input {spec.name!r}")
            own = self._own(inputs[spec.name])
            if own.shape != spec.shape:
                raise self._failed(f"takes {spec.name!r} of shape {spec.shape}, not {own.shape}")
            given.append(own.value)
        made = self._results(given)
        return {
            spec.name: self._buffers(value, spec.dtype)
            for spec, value in zip(self.signature.outputs, made, strict=True)
        }

    @abstractmethod
    def _results(self, given: Sequence[Any]) -> Sequence[Any]:
        """The values of the outputs, in order, from those of the inputs. Raises RunError."""

    def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> Callable[[], None]:
        """Not to be had: results are tensors that the library makes. Raises RunError."""
        raise self._failed(f"writes into none of the {len(inputs) + len(outputs)} buffers of the caller")
