"""Which operator is lowered by what. A lowering takes and gives JAX arrays, and whole numbers for sizes.

Each module of `compiler/hlo/ops` holds lowerings, under the overloads that they are of. Types follow torch: what an
operator gives is cast to the type that the graph says, so a lowering need not.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

Lowering = Callable[..., Any]

_LOWERINGS: dict[Any, Lowering] = {}


def lowers(*targets: Any) -> Callable[[Lowering], Lowering]:
    """Decorate the lowering of one or several overloads that take the same arguments."""

    def register(lowering: Lowering) -> Lowering:
        for target in targets:
            if target in _LOWERINGS:
                raise ValueError(f"{target} has two lowerings")
            _LOWERINGS[target] = lowering
        return lowering

    return register


@cache
def lowerings() -> Mapping[Any, Lowering]:
    """Every lowering by overload."""
    from compiler.hlo import ops

    for module in pkgutil.iter_modules(ops.__path__):
        importlib.import_module(f"{ops.__name__}.{module.name}")
    return MappingProxyType(_LOWERINGS)
