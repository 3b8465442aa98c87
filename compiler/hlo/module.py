"""A computation traced with JAX, as the bytes of an HloModuleProto: what XLA's compilers take."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import jax
import numpy as np

from artifacts.dtype import DType
from artifacts.spec import TensorSpec

Arrays = Sequence[Any]


def as_carried(dtype: DType) -> Any:
    """The type in which an accelerator has values: whole numbers of 64 bits have 32."""
    if dtype == DType.BFLOAT16:
        return jax.numpy.bfloat16
    return np.dtype(np.int32) if dtype == DType.INT64 else dtype.numpy


def shaped(shape: Sequence[int | str], dtype: DType) -> Any:
    """A tensor of static shape, for a trace."""
    return jax.ShapeDtypeStruct(shape, as_carried(dtype))  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class HloModule:
    """A module's bytes, and the shapes of its results. Its parameters are the inputs in order, and then the weights."""

    data: bytes
    results: tuple[tuple[int, ...], ...]


def hlo_module(
    name: str,
    call: Callable[[Arrays, Arrays], tuple[Any, ...]],
    inputs: Sequence[TensorSpec],
    weights: Arrays,
    aliases: Mapping[int, int] = MappingProxyType({}),
) -> HloModule:
    """Trace a call of inputs and weights. The same call gives the same bytes, on every machine.

    `aliases` says over which parameter's memory a result is written, the result's number by the parameter's: both
    have one shape and type. Parameters that are not used are kept. Places in our own code are left out of the metadata,
    which says by name which of the source's nodes an instruction is of.
    """
    given = [shaped(spec.shape, spec.dtype) for spec in inputs]

    def flat(*arrays: Any) -> tuple[Any, ...]:
        return call(arrays[: len(given)], arrays[len(given) :])

    flat.__name__ = name
    with _no_places():
        lowered = jax.jit(flat, keep_unused=True).lower(*given, *weights)
        computation = lowered.compiler_ir("hlo")
    assert computation is not None
    shapes = tuple(tuple(found.shape) for found in jax.tree.leaves(lowered.out_info))
    data = _without_id(bytes(computation.as_serialized_hlo_module_proto()))
    return HloModule(data + _alias_field(aliases), shapes)


@contextmanager
def _no_places() -> Iterator[None]:
    config: Any = jax.config
    limit = config.jax_traceback_in_locations_limit
    config.update("jax_traceback_in_locations_limit", 0)
    try:
        yield
    finally:
        config.update("jax_traceback_in_locations_limit", limit)


_ALIASES = 8
"""The number of HloModuleProto's field `input_output_alias`."""

_MUST_ALIAS = 2

_ID = 5
"""The number of HloModuleProto's field `id`, which counts the modules that a process has made."""

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


def _without_id(data: bytes) -> bytes:
    """The message without that field. Its fields are read as Protocol Buffers' encoding says, and none looked into."""
    kept, at = bytearray(), 0
    while at < len(data):
        begin = at
        key, at = _varint(data, at)
        kind = key & 7
        if kind == _VARINT:
            _, at = _varint(data, at)
        elif kind == _LENGTH:
            length, at = _varint(data, at)
            at += length
        else:
            at += {_FIXED64: 8, _FIXED32: 4}[kind]
        if key >> 3 != _ID:
            kept += data[begin:at]
    return bytes(kept)


def _alias_field(aliases: Mapping[int, int]) -> bytes:
    """The field `input_output_alias`: an HloInputOutputAliasProto with an entry for each.

    An entry has the place of a result in the tuple that a module gives (1), the parameter (2), and the kind (4).
    """
    entries = b"".join(
        _field(
            1,
            _field(1, _encoded(result))
            + _encoded(2 << 3)
            + _encoded(parameter)
            + _encoded(4 << 3)
            + _encoded(_MUST_ALIAS),
        )
        for parameter, result in sorted(aliases.items())
    )
    return _field(_ALIASES, entries) if entries else b""


def _field(number: int, content: bytes) -> bytes:
    return _encoded(number << 3 | _LENGTH) + _encoded(len(content)) + content


def _encoded(value: int) -> bytes:
    """A varint."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
