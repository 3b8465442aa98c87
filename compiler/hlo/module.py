"""A computation traced with JAX, as the bytes of an HloModuleProto: what XLA's compilers take."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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
) -> HloModule:
    """Trace a call of inputs and weights. The same call gives the same bytes, on every machine.

    Parameters that are not used are kept. Places in our own code are left out of the metadata, which says by name
    which of the source's nodes an instruction is of.
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
    return HloModule(_without_id(bytes(computation.as_serialized_hlo_module_proto())), shapes)


@contextmanager
def _no_places() -> Iterator[None]:
    config: Any = jax.config
    limit = config.jax_traceback_in_locations_limit
    config.update("jax_traceback_in_locations_limit", 0)
    try:
        yield
    finally:
        config.update("jax_traceback_in_locations_limit", limit)


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


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
