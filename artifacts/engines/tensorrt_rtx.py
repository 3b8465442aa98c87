"""Engines whose plans TensorRT-RTX runs on an NVIDIA GPU: `engines/NAME.plan`."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from artifacts.cuda import gpu_capability
from artifacts.engines.engine import EngineRunner
from artifacts.manifest import Access, EngineEntry
from artifacts.tensorrt_runner import open_plan


def runs_here() -> bool:
    """Whether this machine has the runtime and a GPU."""
    return importlib.util.find_spec("tensorrt_rtx") is not None and gpu_capability() is not None


def open_engine(root: Path, entry: EngineEntry, threads: int | None, weights: Access) -> EngineRunner:  # noqa: ARG001  # of the protocol
    """Open the engine of a bundle at `root`. See `engine.Opener`. A GPU has no threads to be told of."""
    return open_plan(_module, "tensorrt-rtx", root, entry, weights)


def _module() -> Any:
    return importlib.import_module("tensorrt_rtx")
