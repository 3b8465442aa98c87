"""Requests that are made as large as the engines that take them, and their answers cut back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from artifacts.dimensions import size_at
from artifacts.noun import Noun
from artifacts.spec import TensorSpec

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]
Sizes = Mapping[str, int]
"""Sizes by the symbols of a signature."""

Text = Annotated[str, Field(min_length=1)]


class Padding(Noun):
    """What a request is filled up with, at the end of each axis that is too short.

    `rows` is the symbol that counts rows which are independent of each other, if there is one: further rows are copies
    of the last, so that they hold what a row may, and a decode of them ends when it does. Elsewhere an input is filled
    with its number in `fill`, and with 0 (false) if it has none there. `exact` says that an answer to a padded request
    agrees with the source's to the request, as far as it was tried.
    """

    rows: Text | None = None
    fill: dict[Text, int] = Field(default_factory=dict)
    exact: bool


def sizes_of(specs: Iterable[TensorSpec], arrays: Arrays) -> dict[str, int]:
    """The size of every symbol of these specs that the arrays tell."""
    return {
        dim: size
        for spec in specs
        if spec.name in arrays
        for dim, size in zip(spec.shape, arrays[spec.name].shape, strict=True)
        if isinstance(dim, str)
    }


def padded(specs: Iterable[TensorSpec], arrays: Arrays, sizes: Sizes, padding: Padding) -> dict[str, Array]:
    """The arrays at the sizes given, none of which is smaller than theirs."""
    return {spec.name: _padded(spec, arrays[spec.name], sizes, padding) for spec in specs if spec.name in arrays}


def _padded(spec: TensorSpec, array: Array, sizes: Sizes, padding: Padding) -> Array:
    wanted = [
        sizes.get(dim, size) if isinstance(dim, str) else dim for dim, size in zip(spec.shape, array.shape, strict=True)
    ]
    if wanted == list(array.shape):
        return array
    found = np.full(wanted, padding.fill.get(spec.name, 0), array.dtype)
    found[tuple(map(slice, array.shape))] = array
    for axis, (dim, size) in enumerate(zip(spec.shape, array.shape, strict=True)):
        if dim == padding.rows and size:
            before = (slice(None),) * axis
            found[(*before, slice(size, None))] = found[(*before, slice(size - 1, size))]
    return found


def cropped(specs: Iterable[TensorSpec], arrays: Arrays, sizes: Sizes) -> dict[str, Array]:
    """The arrays with what a request of these sizes has of them: their beginning, along each axis that they tell."""

    def kept(spec: TensorSpec, array: Array) -> Array:
        known = [size_at(dim, sizes) if isinstance(dim, str) else None for dim in spec.shape]
        cut = tuple(slice(size) for size in known)
        return np.ascontiguousarray(array[cut])

    return {spec.name: kept(spec, arrays[spec.name]) for spec in specs if spec.name in arrays}
