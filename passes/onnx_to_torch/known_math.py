"""Arithmetic on known values (see values.py) that never asks a symbol for its value.

`bool()` of a comparison between symbols would record a guard, and a guard can pin a dynamic dimension to the
sample's size. So every function here answers what holds for all sizes, and stays symbolic otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias, overload

import numpy as np
import torch

from passes.onnx_to_torch.sizes import as_int
from passes.onnx_to_torch.values import Known, Scalar

Int: TypeAlias = "int | torch.SymInt"
Bool: TypeAlias = "bool | torch.SymBool"

# torch leaves these untyped.
_sym_ite: Callable[[Bool, Int, Int], Int] = torch.sym_ite
_sym_not: Callable[[Bool], Bool] = torch.sym_not
_sym_max: Callable[[Int, Int], Int] = torch.sym_max
_sym_min: Callable[[Int, Int], Int] = torch.sym_min
_check: Callable[[Bool], None] = torch._check

_BITS = {torch.int64: 64, torch.int32: 32}


def elementwise(function: Callable[..., Scalar | None], dtype: torch.dtype, *values: Known) -> Known | None:
    """Apply a function of scalars with multidirectional broadcasting; the result has element type `dtype`.

    Concrete integers wrap around as two's complement does. Gives None, for the tensor path to take over, as
    soon as `function` gives None for one element. Raises ValueError if the shapes do not broadcast.
    """
    arrays = np.broadcast_arrays(*(value.array for value in values))
    result = np.empty(arrays[0].shape, dtype=object)
    for index in np.ndindex(result.shape):
        element = function(*(array[index] for array in arrays))
        if element is None:
            return None
        result[index] = wrap(element, dtype)
    return Known(result, dtype)


def wrap(element: Scalar, dtype: torch.dtype) -> Scalar:
    """The element as `dtype` holds it: concrete integers modulo 2^bits, symbols kept."""
    if dtype is torch.bool:
        return truth(element)
    if isinstance(element, torch.SymBool):
        return _sym_ite(element, 1, 0)
    if isinstance(element, torch.SymInt):
        return element
    half = 1 << (_BITS[dtype] - 1)
    return (int(element) + half) % (2 * half) - half


def truth(element: Scalar) -> Bool:
    """The element as a boolean: itself, or whether it differs from 0."""
    return element if isinstance(element, (bool, torch.SymBool)) else not_equal(element, 0)


def always(condition: Bool) -> bool:
    """True if the condition holds for all sizes. False says nothing about the opposite."""
    return condition if isinstance(condition, bool) else _decided(condition) is True


def resolved(condition: Bool) -> Bool:
    """A plain bool if the condition, or its opposite, holds for all sizes; else the symbol."""
    if isinstance(condition, bool):
        return condition
    decided = _decided(condition)
    return condition if decided is None else decided


def _decided(condition: torch.SymBool) -> bool | None:
    """What a condition is for all sizes, as far as the ranges of symbols tell.

    Not torch's `statically_known_true`, which also believes what torch noticed about the sample on its way (that
    some size computed from others is 1, say): a program holds for other sizes too, and no engine checks that.
    """
    shapes, expression = condition.node.shape_env, condition.node.expr
    asserted = (known.expr for s in expression.free_symbols for known in shapes.deferred_runtime_asserts.get(s, ()))
    found = shapes._maybe_evaluate_static(expression, axioms=tuple(asserted))
    return None if found is None else bool(found)


def equal(a: Scalar, b: Scalar) -> Bool:
    """Whether a is b: of two integers or of two booleans."""
    if isinstance(a, torch.SymBool) or isinstance(b, torch.SymBool):
        return logical_not(logical_xor(a, b))
    return resolved(a == b)


def not_equal(a: Scalar, b: Scalar) -> Bool:
    """The opposite of `equal`."""
    return logical_not(equal(a, b))


def less(a: Int, b: Int) -> Bool:
    """Whether a < b."""
    return resolved(a < b)


def less_or_equal(a: Int, b: Int) -> Bool:
    """Whether a <= b."""
    return resolved(a <= b)


def greater(a: Int, b: Int) -> Bool:
    """Whether a > b."""
    return resolved(a > b)


def greater_or_equal(a: Int, b: Int) -> Bool:
    """Whether a >= b."""
    return resolved(a >= b)


def logical_not(a: Scalar) -> Bool:
    """Whether a is false."""
    a = truth(a)
    return not a if isinstance(a, bool) else _sym_not(a)


def logical_and(a: Scalar, b: Scalar) -> Bool:
    """Whether both hold."""
    a, b = truth(a), truth(b)
    if isinstance(a, bool):
        return b if a else False
    if isinstance(b, bool):
        return a if b else False
    return resolved(a & b)


def logical_or(a: Scalar, b: Scalar) -> Bool:
    """Whether at least one holds."""
    a, b = truth(a), truth(b)
    if isinstance(a, bool):
        return True if a else b
    if isinstance(b, bool):
        return True if b else a
    return resolved(a | b)


def logical_xor(a: Scalar, b: Scalar) -> Bool:
    """Whether exactly one holds."""
    return logical_or(logical_and(a, logical_not(b)), logical_and(logical_not(a), b))


@overload
def where(condition: Scalar, a: Int, b: Int) -> Int: ...


@overload
def where(condition: Scalar, a: Scalar, b: Scalar) -> Scalar: ...


def where(condition: Scalar, a: Scalar, b: Scalar) -> Scalar:
    """The first if the condition holds, else the second."""
    condition = truth(condition)
    if isinstance(condition, bool):
        return a if condition else b
    if isinstance(a, (bool, torch.SymBool)) or isinstance(b, (bool, torch.SymBool)):
        return logical_or(logical_and(condition, a), logical_and(logical_not(condition), b))
    return a if always(a == b) else _sym_ite(condition, a, b)


def maximum(a: Int, b: Int) -> Int:
    """The greater of two."""
    if always(a >= b):
        return a
    return b if always(b >= a) else _sym_max(a, b)


def minimum(a: Int, b: Int) -> Int:
    """The smaller of two."""
    if always(a <= b):
        return a
    return b if always(b <= a) else _sym_min(a, b)


def clamp(a: Int, low: Int, high: Int) -> Int:
    """The nearest to a in low..high; low <= high."""
    return minimum(maximum(a, low), high)


def absolute(a: Int) -> Int:
    """The distance from 0."""
    if always(a >= 0):
        return a
    return -a if always(a <= 0) else _sym_max(a, -a)


def truncated_division(a: Int, b: Int) -> Int | None:
    """Quotient rounded toward zero, as ONNX divides integers; None if b can be 0 or signs are not known.

    Python and SymInt round toward minus infinity, which differs when exactly one of the two is negative.
    """
    if isinstance(a, int) and isinstance(b, int):
        return None if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    if always(b < 0):
        a, b = -a, -b
    if not always(b > 0):
        return None
    if always(a >= 0):
        return a // b
    return -(-a // b) if always(a <= 0) else None


def floored_modulo(a: Int, b: Int) -> Int | None:
    """Remainder with the sign of b (ONNX Mod, fmod=0); None if b can be 0."""
    if not always(b != 0):
        return None
    remainder: Int = a % b  # type: ignore[operator]  # int has no % with SymInt, which then answers itself
    return remainder


def truncated_modulo(a: Int, b: Int) -> Int | None:
    """Remainder with the sign of a (ONNX Mod, fmod=1); None if it is not known for all sizes."""
    quotient = truncated_division(a, b)
    return None if quotient is None else a - quotient * b


def product(factors: Iterable[Int]) -> Int:
    """The product of integers; 1 for none."""
    result: Int = 1
    for factor in factors:
        result = result * factor
    return result


def assume(condition: Bool) -> None:
    """Take for granted what holds whenever the model runs. Raises RuntimeError if it cannot."""
    _check(condition)


def integers(value: Known) -> list[Int]:
    """Elements of a value of integers, in row-major order. Raises TypeError for booleans."""
    elements = [element for element in value.elements if not isinstance(element, (bool, torch.SymBool))]
    if len(elements) != len(value.elements):
        raise TypeError("expected integers, got booleans")
    return elements


def numbers(value: Known) -> list[int]:
    """The same for what has to be plain numbers (axes, steps). Raises TypeError for a symbol or a boolean."""
    found = integers(value)
    concrete = [element for element in found if isinstance(element, int)]
    if len(concrete) != len(found):
        raise TypeError(f"{found} depends on sizes or data, where fixed integers are needed")
    return concrete


def arange(*bounds: Int, dtype: torch.dtype = torch.int64) -> torch.Tensor:
    """torch.arange of end, of start and end, or of start, end and step, with symbols."""
    return torch.arange(*map(as_int, bounds), dtype=dtype)
