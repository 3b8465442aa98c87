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
    return HloModule(bytes(computation.as_serialized_hlo_module_proto()), shapes)


@contextmanager
def _no_places() -> Iterator[None]:
    config: Any = jax.config
    limit = config.jax_traceback_in_locations_limit
    config.update("jax_traceback_in_locations_limit", 0)
    try:
        yield
    finally:
        config.update("jax_traceback_in_locations_limit", limit)
