from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from passes.onnx_to_torch import known_math as km
from passes.onnx_to_torch.values import Known, Scalar
from tests.support.onnx_ops import FEW

SMALL = st.integers(-20, 20)
SIZES = [(3, 5), (2, 2), (7, 4)]


def follow(function: Callable[[Any, Any], Scalar]) -> tuple[list[Any], torch.export.ExportedProgram]:
    """Trace a function of two sizes; give what it answers for others, and the program."""

    class Traced(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            result = function(*x.shape)
            is_bool = isinstance(result, (bool, torch.SymBool))
            return x, Known.of(result, torch.bool if is_bool else torch.int64).tensor()

    dims = {0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO}
    program = torch.export.export(Traced(), (torch.zeros(3, 5),), dynamic_shapes=(dims,), strict=False)
    return [program.module()(torch.zeros(size))[1].item() for size in SIZES], program


@pytest.mark.parametrize(
    ("ours", "python"),
    [
        (km.equal, operator.eq),
        (km.not_equal, operator.ne),
        (km.less, operator.lt),
        (km.less_or_equal, operator.le),
        (km.greater, operator.gt),
        (km.greater_or_equal, operator.ge),
        (km.maximum, max),
        (km.minimum, min),
        (km.truncated_division, lambda a, b: math.trunc(a / b) if b else None),
        (km.floored_modulo, lambda a, b: a % b if b else None),
        (km.truncated_modulo, lambda a, b: int(math.fmod(a, b)) if b else None),
    ],
)
@FEW
@given(a=SMALL, b=SMALL)
def test_numbers(ours: Callable[[int, int], object], python: Callable[[int, int], object], a: int, b: int) -> None:
    result = ours(a, b)
    assert result == python(a, b)
    assert not isinstance(result, np.generic)


@pytest.mark.parametrize("a", [True, False])
@pytest.mark.parametrize("b", [True, False])
def test_truth_values(a: bool, b: bool) -> None:
    assert km.logical_and(a, b) is (a and b)
    assert km.logical_or(a, b) is (a or b)
    assert km.logical_xor(a, b) is (a != b)
    assert km.logical_not(a) is (not a)
    assert km.equal(a, b) is (a == b)
    assert km.where(a, 1, 2) == (1 if a else 2)
    assert km.truth(7) is True
    assert km.truth(0) is False


@FEW
@given(a=SMALL, low=SMALL, span=st.integers(0, 9))
def test_clamp_and_absolute(a: int, low: int, span: int) -> None:
    assert km.clamp(a, low, low + span) == min(max(a, low), low + span)
    assert km.absolute(a) == abs(a)


@pytest.mark.parametrize(
    "function",
    [
        km.maximum,
        km.minimum,
        lambda n, m: km.where(km.less(n, m), n * 2, m),
        lambda n, m: km.truncated_division(n * m, 4),
        lambda n, m: km.truncated_division(-n * m, 2),
        lambda n, m: km.floored_modulo(n + m, 3),
        lambda n, m: km.truncated_modulo(n + m, 3),
        lambda n, m: km.absolute(n - m),
        lambda n, m: km.clamp(n * m, 3, 12),
        km.equal,
        km.not_equal,
        lambda n, m: km.logical_or(km.equal(n, m), km.greater(n, 5)),
        lambda n, m: km.logical_and(km.less(n, m), km.greater(m, 4)),
        lambda n, m: km.logical_xor(km.less(n, m), km.less(m, 5)),
        lambda n, m: km.where(km.less(n, m), km.equal(n, 3), km.equal(m, 4)),
        lambda n, m: km.product([n, m, 2]),
    ],
)
def test_symbols_follow_the_sizes_and_leave_no_guard(function: Callable[[Any, Any], Any]) -> None:
    found, program = follow(function)
    assert found == [function(*size) for size in SIZES]
    ranges = list(program.range_constraints.values())
    assert all(int(limits.lower) <= 2 and limits.upper > 10**6 for limits in ranges)


def test_what_holds_for_all_sizes_is_decided() -> None:
    decided: list[object] = []

    def ask(n: Any, m: Any) -> int:
        decided.extend(
            [
                km.equal(n, -1),
                km.equal(n + 1, n + 1),
                km.less(n, 0),
                km.greater_or_equal(n, 0),
                km.where(km.equal(n, -1), 1, 5),
                km.maximum(n, 1) is n,
                km.logical_and(km.equal(n, m), False),
                km.logical_or(km.equal(n, m), True),
                km.truncated_division(n, 0),
                km.always(km.equal(n, m)),
            ]
        )
        return 0

    follow(ask)
    assert decided == [False, True, False, True, 5, True, False, True, None, False]


def test_elementwise_broadcasts_and_keeps_rank_0() -> None:
    column = Known(np.array([[1], [2]], dtype=object))
    result = km.elementwise(operator.add, torch.int64, column, Known.of([10, 20]))
    assert result is not None
    np.testing.assert_array_equal(result.numpy(), [[11, 21], [12, 22]])
    scalar = km.elementwise(operator.add, torch.int64, Known.of(1), Known.of(2))
    assert scalar is not None
    assert scalar.array.shape == ()
    assert km.elementwise(km.truncated_division, torch.int64, column, Known.of([1, 0])) is None
    with pytest.raises(ValueError, match="broadcast"):
        km.elementwise(operator.add, torch.int64, Known.of([1, 2]), Known.of([1, 2, 3]))


@FEW
@given(value=st.integers(-(2**70), 2**70))
def test_integers_wrap_around(value: int) -> None:
    for dtype, name in ((torch.int64, "<i8"), (torch.int32, "<i4")):
        size = np.dtype(name).itemsize
        expected = int.from_bytes((value % 2 ** (8 * size)).to_bytes(size, "little"), "little", signed=True)
        assert km.wrap(value, dtype) == expected
    assert km.wrap(value, torch.bool) is (value != 0)
    assert km.wrap(True, torch.int64) == 1


def test_what_has_to_be_numbers() -> None:
    assert km.numbers(Known.of([1, -2])) == [1, -2]
    with pytest.raises(TypeError, match="booleans"):
        km.numbers(Known.of([True], torch.bool))

    def ask(n: Any, m: Any) -> int:
        with pytest.raises(TypeError, match="depends on sizes"):
            km.numbers(Known.of([n, 1]))
        return 0

    follow(ask)


def test_arange_takes_symbols() -> None:
    class Line(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return km.arange(1, x.shape[0], 2, dtype=torch.float64)

    dims = {0: torch.export.Dim.AUTO}
    program = torch.export.export(Line(), (torch.zeros(6),), dynamic_shapes=(dims,), strict=False)
    assert program.module()(torch.zeros(9)).tolist() == [1.0, 3.0, 5.0, 7.0]
