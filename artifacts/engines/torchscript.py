"""Engines in TorchScript, which torch runs on the CPU: the one kind whose runtime is torch.

torch.jit.load unpickles nothing that is code of Python; what a file says is run is TorchScript. Open bundles of those
only whom you would let run a model.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from artifacts.engines.engine import Buffer
from artifacts.engines.runner import ValueBuffer, ValueRunner
from artifacts.errors import BundleError, MissingToolError
from artifacts.manifest import Access, EngineEntry
from artifacts.spec import TensorSpec

Array = npt.NDArray[Any]

_STAGE = "engine"


def runs_here() -> bool:
    """Wherever torch is installed."""
    return importlib.util.find_spec("torch") is not None


class TorchBuffer(ValueBuffer):
    """A tensor of torch's."""


class TorchScriptRunner(ValueRunner[TorchBuffer]):
    """One loaded model."""

    kind = "torchscript"

    def __init__(self, module: Any, entry: EngineEntry) -> None:
        super().__init__(module, entry, TorchBuffer)

    def upload(self, spec: TensorSpec, array: Array) -> TorchBuffer:
        """A copy of an array."""
        import torch

        return TorchBuffer(torch.from_numpy(np.array(array)), spec.dtype)

    def download(self, buffer: Buffer) -> Array:
        """The memory of a buffer as an array."""
        array: Array = self._own(buffer).value.numpy()
        return array

    def _results(self, given: Sequence[Any]) -> Sequence[Any]:
        import torch

        try:
            with torch.no_grad():
                results: Sequence[Any] = self._live()(*given)
        except RuntimeError as error:
            raise self._failed(f"torch: {str(error).strip().splitlines()[-1]}") from error
        return results


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
