"""Targets by name. A target registers by being a module of this package with a constant `TARGET`."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from types import MappingProxyType

from artifacts.errors import UsageError
from compiler.targets.target import Target

__all__ = ["Target", "all_targets", "find_target"]


@cache
def all_targets() -> MappingProxyType[str, Target]:
    """Every target by name, sorted."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "target")
    found: list[Target] = [importlib.import_module(f"{__name__}.{name}").TARGET for name in names]
    return MappingProxyType({target.name: target for target in found})


def find_target(name: str) -> Target:
    """The target of that name. Raises UsageError listing the names there are."""
    targets = all_targets()
    if name not in targets:
        raise UsageError.of("options", "--target", f"there is no target {name!r}", f"targets: {', '.join(targets)}")
    return targets[name]
