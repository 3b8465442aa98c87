"""Prepacked weights in a file: what ONNX Runtime makes of an engine when it opens it, kept in the host's cache.

Its kernels want weights in an order that depends on the instruction set, and by default every opening makes a copy of
its own. ONNX Runtime can save the engine as it has optimised it, packed weights included, and maps that file when it
opens it again: then all processes share its pages, and opening takes no packing.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

from artifacts.canonical import canonical_json, sha256_bytes, sha256_file
from artifacts.errors import BundleError, RunError
from artifacts.freed_memory import give_back
from artifacts.host_cache import UNUSABLE_HINT, cached_folder
from artifacts.manifest import EngineEntry
from artifacts.shards import WEIGHTS_FOLDER, read_shard
from artifacts.weight_places import align, is_aligned

KIND = "prepacked"
ENGINE_FILE = "engine.onnx"
_WEIGHTS_FILE = "weights.bin"
_FORMAT = 3
"""Of the cache: to be raised when what is saved, or how it is opened, changes."""

_SAVING = {
    "session.optimized_model_external_initializers_file_name": _WEIGHTS_FILE,
    "session.save_external_prepacked_constant_initializers": "1",
}
_LEAST_BYTES = "session.optimized_model_external_initializers_min_size_in_bytes"

_LEAST_SIZE = 1 << 10
"""Bytes from which on a weight goes into the file."""


def prepacked_engine(
    root: Path, entry: EngineEntry, options: Callable[[], Any], open_session: Callable[..., Any]
) -> Path:
    """The file of an engine of the bundle at `root` with packed weights beside it, from the cache.

    `options` gives session options for the engine, `open_session(path, options)` opens it. Raises RunError if the
    cache cannot be used, BundleError if the bundle's weights are not what their names say.
    """

    def make(folder: Path) -> None:
        # What is packed here serves every bundle with these digests: a damaged weight must not get in.
        for shard in sorted((root / WEIGHTS_FOLDER).glob("*.safetensors")):
            read_shard(root, shard.relative_to(root).as_posix(), verify=True)
        _save(folder, root / entry.source, options(), open_session)
        engine = folder / ENGINE_FILE
        if is_aligned(engine) or (align(engine, folder / _WEIGHTS_FILE) and is_aligned(engine)):
            return
        message = "has weights of sizes that leave packed ones at addresses where its kernels cannot read them"
        others = " or ".join(sorted(entry.weights.ways.keys() - {"cached"}))
        raise RunError.of("cache", entry.source, message, f"open it with {others} weights")

    return cached_folder(KIND, _key(root, entry), make) / ENGINE_FILE


def _save(folder: Path, source: Path, saving: Any, open_session: Callable[..., Any]) -> None:
    """Have ONNX Runtime write the engine, and all but small weights beside it. Raises RunError."""
    for name, value in (*_SAVING.items(), (_LEAST_BYTES, str(_LEAST_SIZE))):
        saving.add_session_config_entry(name, value)
    saving.optimized_model_filepath = str(folder / ENGINE_FILE)
    try:
        open_session(source, saving)
    except BundleError as error:
        message = f"cannot take the packed weights of {source.name}: {error.problems[0].message}"
        raise RunError.of("cache", str(folder.parent), message, "is there room for them? " + UNUSABLE_HINT) from error
    give_back()
    if not (folder / ENGINE_FILE).exists():
        raise RunError.of("cache", source.name, "ONNX Runtime did not save it", "open it with other weights")


def _key(root: Path, entry: EngineEntry) -> str:
    """A digest of all that decides what is packed, and how."""
    import onnxruntime

    return sha256_bytes(
        canonical_json(
            {
                "format": _FORMAT,
                "engine": sha256_file(root / entry.source),
                "weights": {name: ref.model_dump(mode="json") for name, ref in entry.bindings.items()},
                "session": dict(entry.session),
                "runtime": [onnxruntime.__version__, onnxruntime.get_build_info()],
                "instructions": list(instruction_set()),
            }
        )
    )


_CPU_FIELDS = (
    *("vendor_id", "cpu family", "model", "flags"),
    *("CPU implementer", "CPU architecture", "CPU part", "Features"),
)


def instruction_set() -> tuple[str, ...]:
    """What decides which kernels a runtime picks on this processor."""
    machine = platform.machine()
    try:
        first, *_ = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")
    except OSError:
        return machine, platform.processor(), os.name
    lines = (line.partition(":") for line in first.splitlines())
    fields = {name.strip(): text.strip() for name, _, text in lines}
    return machine, *(f"{name}: {fields[name]}" for name in _CPU_FIELDS if name in fields)
