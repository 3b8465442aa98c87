"""Operators by (domain, name, since version). One family of operators is one file under `ops/`.

A converter is a plain function on torch tensors; `call` gives it the node's attributes. A *known* converter is
the same operator on numpy object arrays, used when every input is known (see values.py).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias, TypeVar

import onnx.defs

Key: TypeAlias = tuple[str, str, int]
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Converter:
    """One operator in one since-version.

    `shapes` holds positions of inputs that are wanted as known integers rather than as tensors (Reshape's
    target shape), `either` those that are taken as they come, known or tensor (Gather's indices); all other
    inputs arrive as tensors.
    """

    function: Callable[..., Any]
    shapes: frozenset[int] = frozenset()
    either: Container[int] = frozenset()


EVERY = range(1 << 16)
"""Positions of all inputs, however many a variadic operator has."""

_CONVERTERS: dict[Key, Converter] = {}
_KNOWN: dict[Key, Callable[..., Any]] = {}


def op(
    name: str, *since: int, domain: str = "", shapes: tuple[int, ...] = (), either: Container[int] = ()
) -> Callable[[Function], Function]:
    """Register a converter for the since-versions that it is right for.

    Raises ValueError on a duplicate, or on a version that the ONNX schema does not have.
    """

    def register(function: Function) -> Function:
        for key in _keys(name, since, domain):
            _refuse_twice(_CONVERTERS, key)
            _CONVERTERS[key] = Converter(function, frozenset(shapes), either)
        return function

    return register


def known(name: str, *since: int, domain: str = "") -> Callable[[Function], Function]:
    """Register the same operator on known values: `function(call, *arrays) -> array`, object arrays both."""

    def register(function: Function) -> Function:
        for key in _keys(name, since, domain):
            _refuse_twice(_KNOWN, key)
            _KNOWN[key] = function
        return function

    return register


def find(domain: str, name: str, since: int) -> Converter | None:
    """The converter of exactly that operator and since-version."""
    _load_families()
    return _CONVERTERS.get((domain, name, since))


def find_known(domain: str, name: str, since: int) -> Callable[..., Any] | None:
    """The known converter of exactly that operator and since-version."""
    _load_families()
    return _KNOWN.get((domain, name, since))


def registered() -> Iterator[Key]:
    """Every registered (domain, operator, since version), sorted."""
    _load_families()
    return iter(sorted(_CONVERTERS))


def normal_domain(domain: str) -> str:
    """ONNX spells its default domain both '' and 'ai.onnx'."""
    return "" if domain == "ai.onnx" else domain


def opset_of(opsets: Mapping[str, int], domain: str) -> int:
    """The version that a model or a function imports of a domain; 1 where it imports none."""
    names = ("", "ai.onnx") if normal_domain(domain) == "" else (domain,)
    return next((opsets[name] for name in names if name in opsets), 1)


def schema_of(domain: str, name: str, opset: int) -> onnx.defs.OpSchema | None:
    """The schema that an opset import selects, or None for an operator ONNX does not define."""
    try:
        return onnx.defs.get_schema(name, opset, normal_domain(domain))
    except onnx.defs.SchemaError:
        return None


def _keys(name: str, since: tuple[int, ...], domain: str) -> Iterator[Key]:
    if not since:
        raise ValueError(f"{name}: name at least one since-version")
    for version in since:
        schema = schema_of(domain, name, version)
        # Domains that ONNX ships no schemas for (com.microsoft) have one version, checked by nobody.
        if domain in _SCHEMA_DOMAINS and (schema is None or schema.since_version != version):
            raise ValueError(f"{domain or 'ai.onnx'}.{name} has no since-version {version}")
        yield (domain, name, version)


_SCHEMA_DOMAINS = frozenset({"", "ai.onnx.ml", "ai.onnx.preview", "ai.onnx.preview.training"})


def _refuse_twice(table: Mapping[Key, object], key: Key) -> None:
    if key in table:
        raise ValueError(f"{key[1]}-{key[2]} of domain {key[0] or 'ai.onnx'!r} is registered twice")


@cache
def _load_families() -> None:
    # Imported on first use and not by this package's __init__, because every family imports this module.
    from passes.onnx_to_torch import ops

    for module in pkgutil.iter_modules(ops.__path__):
        importlib.import_module(f"{ops.__name__}.{module.name}")
