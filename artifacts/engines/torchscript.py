"""Engines in TorchScript, which torch runs on the CPU: the one kind whose runtime is torch.

torch.jit.load unpickles nothing that is code of Python; what a file says is run is TorchScript. Open bundles of those
only whom you would let run a model.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from artifacts.dtype import DType
from artifacts.engines.engine import Buffer
from artifacts.errors import BundleError, MissingToolError, RunError
from artifacts.manifest import Access, EngineEntry
from artifacts.spec import Signature, TensorSpec

Array = npt.NDArray[Any]

_STAGE = "engine"


def runs_here() -> bool:
    """Wherever torch is installed."""
    return importlib.util.find_spec("torch") is not None


@dataclass(frozen=True, eq=False)
class TorchBuffer:
    """A tensor of torch's."""

    value: Any
    dtype: DType

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the dimensions."""
        return tuple(self.value.shape)


class TorchScriptRunner:
    """One loaded model."""

    kind = "torchscript"

    def __init__(self, module: Any, entry: EngineEntry) -> None:
        self._module = module
        self._entry = entry

    @property
    def signature(self) -> Signature:
        """Inputs and outputs, as the manifest has them."""
        return self._entry.signature

    def alloc(self, spec: TensorSpec, shape: tuple[int, ...]) -> TorchBuffer:
        """A buffer of zeros."""
        return self.upload(spec, np.zeros(shape, (spec.carrier or spec.dtype).numpy))

    def upload(self, spec: TensorSpec, array: Array) -> TorchBuffer:
        """A copy of an array."""
        import torch

        return TorchBuffer(torch.from_numpy(np.array(array)), spec.dtype)

    def download(self, buffer: Buffer) -> Array:
        """The memory of a buffer as an array."""
        array: Array = self._own(buffer).value.numpy()
        return array

    def run(self, inputs: Mapping[str, Buffer]) -> dict[str, Buffer]:
        """Run once."""
        import torch

        if self._module is None:
            raise self._failed("the engine is closed")
        given = []
        for spec in self.signature.inputs:
            if spec.name not in inputs:
                raise self._failed(f"has no input {spec.name!r}")
            own = self._own(inputs[spec.name])
            if own.shape != spec.shape:
                raise self._failed(f"takes {spec.name!r} of shape {spec.shape}, not {own.shape}")
            given.append(own.value)
        try:
            with torch.no_grad():
                results = self._module(*given)
        except RuntimeError as error:
            raise self._failed(f"torch: {str(error).strip().splitlines()[-1]}") from error
        specs = self.signature.outputs
        return {spec.name: TorchBuffer(value, spec.dtype) for spec, value in zip(specs, results, strict=True)}

    def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> Callable[[], None]:
        """Not to be had: torch gives results in tensors of its own. Raises RunError."""
        raise self._failed(f"writes into none of the {len(inputs) + len(outputs)} buffers of the caller")

    def call(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once from arrays to arrays."""
        specs = self.signature.inputs
        made = self.run({spec.name: self.upload(spec, inputs[spec.name]) for spec in specs if spec.name in inputs})
        return {name: self.download(buffer) for name, buffer in made.items()}

    def close(self) -> None:
        """Let go of the model."""
        self._module = None

    def _own(self, buffer: Buffer) -> TorchBuffer:
        if not isinstance(buffer, TorchBuffer):
            raise self._failed(f"cannot use a {type(buffer).__name__} of another engine")
        return buffer

    def _failed(self, message: str) -> RunError:
        return RunError.of("run", self._entry.source, message)


def open_engine(root: Path, entry: EngineEntry, threads: int | None, weights: Access) -> TorchScriptRunner:  # noqa: ARG001
    """Open the engine of a bundle at `root`. See `engine.Opener`. Threads are torch's, for the whole process."""
    try:
        import torch
    except ImportError as error:
        raise MissingToolError.of(_STAGE, "torch", "is not installed", 'pip install "unspool[compile]"') from error
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"`torch\.jit\.")
            module: Any = torch.jit.load(str(root / entry.source), map_location="cpu")  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        reason = str(error).strip().split("\n")[0]
        raise BundleError.of(_STAGE, entry.source, f"torch cannot open it: {reason}") from error
    return TorchScriptRunner(module, entry)
