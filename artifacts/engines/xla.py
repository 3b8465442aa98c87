"""Engines in HLO that XLA runs on the CPU: what a compiler of an accelerator is handed, run to be compared.

The source is an HloModuleProto. Its parameters are the engine's inputs in order, and then weights: the manifest's
`bindings` name them by the number of the parameter. Whole numbers of 64 bits travel as 32, as accelerators have them.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from artifacts.dtype import DType
from artifacts.engines.engine import Buffer
from artifacts.engines.runner import ValueBuffer, ValueRunner
from artifacts.errors import BundleError, MissingToolError, RunError
from artifacts.manifest import Access, EngineEntry
from artifacts.shards import read_shard
from artifacts.spec import TensorSpec
from artifacts.weights import WeightStore

Array = npt.NDArray[Any]

_STAGE = "engine"
_INSTALL = 'pip install "unspool[neuron-hlo]"'


def runs_here() -> bool:
    """Wherever JAX is installed."""
    return importlib.util.find_spec("jax") is not None


class XlaBuffer(ValueBuffer):
    """A tensor that XLA owns."""


class XlaRunner(ValueRunner[XlaBuffer]):
    """One compiled module with its weights."""

    kind = "xla"

    def __init__(self, executable: Any, weights: list[Any], entry: EngineEntry) -> None:
        super().__init__(executable, entry, XlaBuffer)
        self._weights = weights
        self._lock = threading.Lock()

    def upload(self, spec: TensorSpec, array: Array) -> XlaBuffer:
        """A copy of an array where XLA has it. Raises RunError for a whole number that has no 32 bits."""
        import jax

        return XlaBuffer(jax.device_put(_carried(array, spec.dtype, f"input {spec.name!r}")), spec.dtype)

    def download(self, buffer: Buffer) -> Array:
        """A copy of a buffer, in the carrier type."""
        own = self._own(buffer)
        array = np.asarray(own.value)
        return array.view(own.dtype.numpy) if own.dtype == DType.BFLOAT16 else array.astype(own.dtype.numpy)

    def close(self) -> None:
        """Let go of the module and its weights."""
        super().close()
        self._weights = []

    def _results(self, given: Sequence[Any]) -> Sequence[Any]:
        with self._lock:
            results = self._live().execute_sharded([*given, *self._weights])
        return [shards[0] for shards in results.disassemble_into_single_device_arrays()]


def open_engine(root: Path, entry: EngineEntry, threads: int | None, weights: Access) -> XlaRunner:  # noqa: ARG001
    """Open the engine of a bundle at `root`. See `engine.Opener`. XLA has its own threads."""
    return xla_runner((root / entry.source).read_bytes(), entry, _stored(root))


def xla_runner(source: bytes, entry: EngineEntry, store: WeightStore) -> XlaRunner:
    """Open an engine whose source is at hand, with the weights of a store. Raises as `open_engine` does."""
    try:
        import jax
    except ImportError as error:
        raise MissingToolError.of(_STAGE, "jax", "is not installed", _INSTALL) from error
    try:
        executable = _compiled(source)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise BundleError.of(_STAGE, entry.source, f"XLA cannot compile it: {reason}") from error
    refs = [entry.bindings[number] for number in sorted(entry.bindings, key=int)]
    held = [jax.device_put(_carried(store.array(ref), ref.dtype, f"weight {ref.digest[:16]}")) for ref in refs]
    return XlaRunner(executable, held, entry)


@lru_cache(maxsize=16)
def _compiled(source: bytes) -> Any:
    """The module as XLA's CPU runs it. An unrolled decoder takes it many seconds, so the last ones are kept."""
    import jax
    from jaxlib import _jax

    client = jax.local_devices(backend="cpu")[0].client
    code = _jax.mlir.hlo_to_stablehlo(source)
    return client.compile_and_load(code, _jax.DeviceList(tuple(client.local_devices()[:1])))


def _stored(root: Path) -> WeightStore:
    """The weights of the bundle: an engine refers to them by content, wherever they lie."""
    blobs: dict[str, Any] = {}
    for path in sorted((root / "weights").glob("*.safetensors")):
        blobs |= read_shard(root, path.relative_to(root).as_posix(), verify=False)[1].blobs
    return replace(WeightStore(), blobs=MappingProxyType(blobs))


def _carried(array: Array, dtype: DType, what: str) -> Array:
    """An array in the type in which an accelerator has it. Raises RunError for a whole number beyond 32 bits."""
    if dtype == DType.BFLOAT16:
        import jax

        return array.view(jax.numpy.bfloat16)
    if array.dtype != np.int64:
        return array
    limits = np.iinfo(np.int32)
    if array.size and (array.min() < limits.min or array.max() > limits.max):
        raise RunError.of("run", what, "has a whole number that 32 bits do not hold")
    return array.astype(np.int32)
