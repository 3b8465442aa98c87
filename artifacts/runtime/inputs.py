"""Checks what a caller hands to a model, before anything runs."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from artifacts.carriers import in_carrier
from artifacts.errors import Problem, RunError
from artifacts.spec import TensorSpec

Array = npt.NDArray[Any]

_STAGE = "inputs"


def checked_inputs(specs: Sequence[TensorSpec], given: Mapping[str, npt.ArrayLike]) -> dict[str, Array]:
    """The given arrays by name in the order of `specs`, each C-contiguous and in its carrier type.

    An array may have the spec's own type or one that it holds without loss: narrower integers for wider
    ones, narrower floats for wider ones. Symbols must have one size throughout. Raises RunError with
    everything that is wrong at once.
    """
    arrays: dict[str, Array] = {}
    problems = [*_name_problems(specs, given)]
    sizes: dict[str, tuple[int, str]] = {}
    for spec in specs:
        if spec.name not in given:
            continue
        try:
            array = np.asarray(given[spec.name])
        except ValueError as error:  # nested sequences of unlike length
            problems.append(Problem(_STAGE, spec.name, f"is not an array: {error}", f"give {spec}"))
            continue
        carried = _carried(array, spec)
        if carried is None:
            problems.append(_dtype_problem(array, spec))
        else:
            arrays[spec.name] = carried
        problems.extend(_shape_problems(array.shape, spec, sizes))
    if problems:
        raise RunError(*problems)
    return arrays


def _name_problems(specs: Sequence[TensorSpec], given: Mapping[str, object]) -> Iterator[Problem]:
    names = [spec.name for spec in specs]
    for spec in specs:
        if spec.name not in given:
            yield Problem(_STAGE, spec.name, "is missing", f"give {spec}")
    for name in given:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {close[0]}?" if close else f"the inputs are: {', '.join(names) or 'none'}"
            yield Problem(_STAGE, name, "is not an input of this model", hint)


def _carried(array: Array, spec: TensorSpec) -> Array | None:
    """The array in the type in which the spec travels; None if that could change a value."""
    carrier = (spec.carrier or spec.dtype).numpy
    if array.dtype == carrier:
        return np.asarray(array, order="C")
    if not spec.dtype.is_native:
        # Types of other packages (ml_dtypes) go by the same names and hold the same bits.
        same = array.dtype.name == spec.dtype.value and array.dtype.itemsize == carrier.itemsize
        return in_carrier(np.asarray(array, order="C"), spec.dtype) if same else None
    same_kind = array.dtype.kind == carrier.kind or (array.dtype.kind, carrier.kind) == ("u", "i")
    if same_kind and np.can_cast(array.dtype, carrier, "safe"):
        return np.asarray(array, dtype=carrier, order="C")
    return None


def _dtype_problem(array: Array, spec: TensorSpec) -> Problem:
    carrier = (spec.carrier or spec.dtype).numpy
    how = f"array.astype(numpy.{carrier.name}) if you accept that values may change"
    hint = how if spec.dtype.is_native else f"give its bits as {carrier.name}"
    return Problem(_STAGE, spec.name, f"is {array.dtype.name}, the model takes {spec.dtype}", hint)


def _shape_problems(shape: tuple[int, ...], spec: TensorSpec, sizes: dict[str, tuple[int, str]]) -> Iterator[Problem]:
    if len(shape) != spec.rank:
        yield Problem(_STAGE, spec.name, f"has {len(shape)} dimensions, the model takes {spec.rank}", f"give {spec}")
        return
    for axis, (size, dim) in enumerate(zip(shape, spec.shape, strict=True)):
        if isinstance(dim, int):
            if size != dim:
                message = f"has size {size} in dimension {axis}, the model takes {dim}"
                yield Problem(_STAGE, spec.name, message, f"give {spec}")
            continue
        known, name = sizes.setdefault(dim, (size, spec.name))
        if size != known:
            message = f"has size {size} in dimension {axis}, which is {dim!r} and {known} in {name}"
            yield Problem(_STAGE, spec.name, message, f"{dim!r} has one size in a call")
