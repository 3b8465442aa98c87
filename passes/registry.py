"""Every pass there is, by name. A pass registers by being in a file of this package."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from functools import cache
from types import MappingProxyType

import passes
from passes.contract import Pass


@cache
def all_passes() -> MappingProxyType[str, type[Pass]]:
    """Pass classes by name. Raises ValueError if two share a name, or a name does not match its file."""
    found: dict[str, type[Pass]] = {}
    for module_info in pkgutil.iter_modules(passes.__path__):
        if module_info.ispkg:
            continue
        module = importlib.import_module(f"passes.{module_info.name}")
        for item in vars(module).values():
            if not _is_pass_of(item, module.__name__):
                continue
            if item.name in found or item.name != module_info.name.replace("_", "-"):
                raise ValueError(f"pass {item.name!r} of {module.__name__} is named twice, or not after its file")
            found[item.name] = item
    return MappingProxyType(dict(sorted(found.items())))


def _is_pass_of(item: object, module: str) -> bool:
    return (
        inspect.isclass(item) and issubclass(item, Pass) and not inspect.isabstract(item) and item.__module__ == module
    )
