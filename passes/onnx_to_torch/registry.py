"""Operators by (domain, name, since version). One family of operators is one file under `ops/`.

A converter is a plain function on torch tensors; `call` gives it the node's attributes. A *known* converter is
the same operator on numpy object arrays, used when every input is known (see values.py).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field
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
    inputs arrive as tensors. Values of types that torch has not (see `values.Carried`) arrive as such at the
    positions in `carried`; an operator that only `moves` elements is given the carriers and its results are of
    the same type. All others refuse them, and strings at positions that are not in `texts`.
    """

    function: Callable[..., Any]
    shapes: frozenset[int] = frozenset()
    either: Container[int] = frozenset()
    carried: Container[int] = frozenset()
    moves: bool = False
    texts: Container[int] = frozenset()


EVERY = range(1 << 16)
"""Positions of all inputs, however many a variadic operator has."""


@dataclass(frozen=True, eq=False, repr=False)
class Registry:
    """Converters by operator and since-version, and what goes with operators of torch that are the user's own.

    `translations` says how such an operator is written in ONNX: a function of onnxscript by overload.
    """

    converters: dict[Key, Converter] = field(default_factory=dict)
    known_converters: dict[Key, Callable[..., Any]] = field(default_factory=dict)
    translations: dict[Callable[..., Any], Callable[..., Any]] = field(default_factory=dict)

    def op(
        self,
        name: str,
        *since: int,
        domain: str = "",
        shapes: tuple[int, ...] = (),
        either: Container[int] = (),
        carried: Container[int] = (),
        moves: bool = False,
        texts: Container[int] = (),
    ) -> Callable[[Function], Function]:
        """Register a converter for the since-versions that it is right for.

        Raises ValueError on a duplicate, or on a version that the ONNX schema does not have.
        """

        def register(function: Function) -> Function:
            for key in _keys(name, since, domain):
                _refuse_twice(self.converters, key)
                self.converters[key] = Converter(function, frozenset(shapes), either, carried, moves, texts)
            return function

        return register

    def known(self, name: str, *since: int, domain: str = "") -> Callable[[Function], Function]:
        """Register the same operator on known values: `function(call, *arrays) -> array`, object arrays both."""

        def register(function: Function) -> Function:
            for key in _keys(name, since, domain):
                _refuse_twice(self.known_converters, key)
                self.known_converters[key] = function
            return function

        return register

    def translation(self, overload: Callable[..., Any]) -> Callable[[Function], Function]:
        """Register how an operator of the user's own (`torch.ops.NAMESPACE.NAME.default`) is written in ONNX.

        Raises ValueError for anything else, and for one that is registered already.
        """
        namespace = getattr(overload, "namespace", None)
        if not isinstance(namespace, str) or namespace in _OWN_NAMESPACES:
            raise ValueError(f"{overload} is not an overload of your own: name torch.ops.NAMESPACE.NAME.default")

        def register(function: Function) -> Function:
            if overload in self.translations:
                raise ValueError(f"{overload} is translated twice")
            self.translations[overload] = function
            return function

        return register

    def find(self, domain: str, name: str, since: int) -> Converter | None:
        """The converter of exactly that operator and since-version."""
        return self.converters.get((domain, name, since))

    def find_known(self, domain: str, name: str, since: int) -> Callable[..., Any] | None:
        """The known converter of exactly that operator and since-version."""
        return self.known_converters.get((domain, name, since))

    def __iter__(self) -> Iterator[Key]:
        """Every registered (domain, operator, since version), sorted."""
        return iter(sorted(self.converters))


BUILTIN = Registry()
"""What the families under `ops/` register in; `builtin()` is the same with all of them loaded."""

op, known = BUILTIN.op, BUILTIN.known


@cache
def builtin() -> Registry:
    """Unspool's own converters, every family loaded."""
    # Imported on first use and not by this package's __init__, because every family imports this module.
    from passes.onnx_to_torch import ops

    for module in pkgutil.iter_modules(ops.__path__):
        importlib.import_module(f"{ops.__name__}.{module.name}")
    return BUILTIN


def full_name(key: Key) -> str:
    """An operator as messages name it: `Relu-14`, and with its domain if that is not ONNX's own."""
    domain, name, since = key
    return f"{domain}.{name}-{since}" if normal_domain(domain) else f"{name}-{since}"


def normal_domain(domain: str) -> str:
    """ONNX spells its default domain both '' and 'ai.onnx'."""
    return "" if domain == "ai.onnx" else domain


def opset_of(opsets: Mapping[str, int], domain: str) -> int:
    """The version that a model or a function imports of a domain; 1 where it imports none."""
    names = ("", "ai.onnx") if normal_domain(domain) == "" else (domain,)
    return next((opsets[name] for name in names if name in opsets), 1)


def since_version(schema: onnx.defs.OpSchema | None, name: str, opset: int) -> int:
    """The since-version that an opset import selects; operators without a schema have the version of the import."""
    if schema is not None:
        return schema.since_version
    return 1 if name in _FOREIGN else opset


def schema_of(domain: str, name: str, opset: int) -> onnx.defs.OpSchema | None:
    """The schema that an opset import selects, or None for an operator ONNX does not define."""
    try:
        return onnx.defs.get_schema(name, opset, normal_domain(domain))
    except onnx.defs.SchemaError:
        return None


def _keys(name: str, since: tuple[int, ...], domain: str) -> Iterator[Key]:
    domain = normal_domain(domain)
    if not since:
        raise ValueError(f"{name}: name at least one since-version")
    for version in since:
        schema = schema_of(domain, name, version)
        # Domains that ONNX ships no schemas for (com.microsoft) have one version, checked by nobody.
        if domain in _SCHEMA_DOMAINS and name not in _FOREIGN and (schema is None or schema.since_version != version):
            raise ValueError(f"{domain or 'ai.onnx'}.{name} has no since-version {version}")
        yield (domain, name, version)


_FOREIGN = frozenset({"SimplifiedLayerNormalization"})
"""Operators that ONNX Runtime puts into ONNX's own domain, in one version."""

_SCHEMA_DOMAINS = frozenset({"", "ai.onnx.ml", "ai.onnx.preview", "ai.onnx.preview.training"})


_OWN_NAMESPACES = frozenset({"aten", "prim", "prims", "higher_order", "unspool"})


def _refuse_twice(table: Mapping[Key, object], key: Key) -> None:
    if key in table:
        raise ValueError(f"{key[1]}-{key[2]} of domain {key[0] or 'ai.onnx'!r} is registered twice")
