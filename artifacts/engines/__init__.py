"""Engine kinds: each is a module of this package with two functions.

`open_engine` opens one (see `engine.Opener`), `runs_here` says whether this machine can. A kind's module is imported
when it is asked for, so a host installs only the runtimes it uses.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import cast

from artifacts.engines.engine import Buffer, EngineRunner, Opener
from artifacts.errors import BundleError, RunError
from artifacts.manifest import Access, EngineEntry

__all__ = ["Buffer", "EngineRunner", "engine_kinds", "open_engine", "runs_here"]

_NOT_KINDS = {"engine", "runner"}


def engine_kinds() -> tuple[str, ...]:
    """The kinds that this version can open, sorted. A dash in a kind is an underscore in its module."""
    modules = {module.name for module in pkgutil.iter_modules(__path__)} - _NOT_KINDS
    return tuple(sorted(name.replace("_", "-") for name in modules))


def runs_here(kind: str) -> bool:
    """Whether this machine can run engines of a kind, as far as can be told without opening one."""
    return kind in engine_kinds() and bool(_module(kind).runs_here())


def open_engine(
    root: Path, entry: EngineEntry, threads: int | None = None, weights: Access | None = None
) -> EngineRunner:
    """Open an engine of the bundle at `root`; `weights` None takes them as the entry says by default.

    Raises as `engine.Opener` does, BundleError for an unknown kind, RunError for weights that it cannot take this way.
    """
    kinds = engine_kinds()
    if entry.kind not in kinds:
        raise BundleError.of(
            "engine",
            entry.source,
            f"is of the kind {entry.kind!r}, which this version cannot run",
            f"known kinds: {', '.join(kinds)}",
        )
    if weights is not None and weights not in entry.weights.ways:
        ways = ", ".join(sorted(entry.weights.ways))
        raise RunError.of("engine", entry.source, f"cannot run with {weights} weights", f"open it with one of: {ways}")
    return cast(Opener, _module(entry.kind).open_engine)(root, entry, threads, weights or entry.weights.default)


def _module(kind: str) -> ModuleType:
    """The module of a kind, which is one of `engine_kinds`: never free text from a manifest."""
    return import_module(f"artifacts.engines.{kind.replace('-', '_')}")
