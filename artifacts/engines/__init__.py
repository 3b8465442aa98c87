"""Engine kinds: each is a module of this package with a function `open_engine` (see `engine.Opener`).

A kind's module is imported when one of its engines is opened, so a host installs only the runtimes it uses.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from pathlib import Path
from typing import cast

from artifacts.engines.engine import Buffer, EngineRunner, Opener
from artifacts.errors import BundleError
from artifacts.manifest import EngineEntry

__all__ = ["Buffer", "EngineRunner", "engine_kinds", "open_engine"]

_NOT_KINDS = {"engine"}


def engine_kinds() -> tuple[str, ...]:
    """The kinds that this version can open, sorted. A dash in a kind is an underscore in its module."""
    modules = {module.name for module in pkgutil.iter_modules(__path__)} - _NOT_KINDS
    return tuple(sorted(name.replace("_", "-") for name in modules))


def open_engine(root: Path, entry: EngineEntry, threads: int | None = None) -> EngineRunner:
    """Open an engine of the bundle at `root`. Raises as `engine.Opener` does, and for an unknown kind."""
    kinds = engine_kinds()
    if entry.kind not in kinds:
        raise BundleError.of(
            "engine",
            entry.source,
            f"is of the kind {entry.kind!r}, which this version cannot run",
            f"known kinds: {', '.join(kinds)}",
        )
    # The name is one of this package's own modules, never free text from a manifest.
    module = import_module(f"artifacts.engines.{entry.kind.replace('-', '_')}")
    return cast(Opener, module.open_engine)(root, entry, threads)
