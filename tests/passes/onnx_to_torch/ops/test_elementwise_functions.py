from __future__ import annotations

import numpy as np
import pytest

from tests.support.onnx_ops import check_op, run_op, sample

DOMAINS = {"Sqrt": (0, 9), "Log": (0.1, 9), "Asin": (-1, 1), "Acos": (-1, 1), "Acosh": (1, 9), "Atanh": (-0.9, 0.9)}
VERSIONS = {
    "Abs": (1, 6, 13),
    "Neg": (1, 6, 13),
    "Reciprocal": (1, 6, 13),
    "Sqrt": (1, 6, 13),
    "Exp": (1, 6, 13),
    "Log": (1, 6, 13),
    "Floor": (1, 6, 13),
    "Ceil": (1, 6, 13),
    "Round": (11, 22),
    "Erf": (9, 13),
    "Sign": (9, 13),
    "IsNaN": (9, 13, 20),
    **dict.fromkeys(("Sin", "Cos", "Tan", "Asin", "Acos", "Atan"), (7, 22)),
    **dict.fromkeys(("Sinh", "Cosh", "Asinh", "Acosh", "Atanh"), (9, 22)),
}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(("op_type", "since"), [(name, v) for name, all_of in VERSIONS.items() for v in all_of])
def test_matches_the_reference(op_type: str, since: int, dtype: str) -> None:
    low, high = DOMAINS.get(op_type, (-4, 4))
    data = sample((3, 4), dtype, low=low, high=high)
    # The reference has erf in float32 only.
    tolerance = 1e-6 if op_type == "Erf" and dtype == "float64" else None
    check_op(op_type, [data], since, tolerance=tolerance)
    check_op(op_type, [data[0, 0]], since, tolerance=tolerance)


def test_round_goes_to_even() -> None:
    data = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5], np.float32)
    check_op("Round", [data], 22, expected=[np.array([-2, -2, 0, 0, 2, 2], np.float32)])


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint8", "uint16", "uint32", "uint64"])
@pytest.mark.parametrize(("op_type", "since"), [("Abs", 6), ("Abs", 13), ("Sign", 9), ("Sign", 13)])
def test_on_integers(op_type: str, since: int, dtype: str) -> None:
    limits = np.iinfo(dtype)
    check_op(op_type, [np.array([limits.max, 0, 1, limits.min + 1], dtype)], since)


@pytest.mark.parametrize("op_type", ["Abs", "Neg"])
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_constants_are_known_and_equal_the_tensors(op_type: str, dtype: str) -> None:
    data = np.array([-5, 0, 5, np.iinfo(dtype).min], dtype)
    (known,) = run_op(op_type, [data], 13, constants={0})
    np.testing.assert_array_equal(known, run_op(op_type, [data], 13)[0])


@pytest.mark.parametrize("since", [10, 20])
@pytest.mark.parametrize("positive", [0, 1])
@pytest.mark.parametrize("negative", [0, 1])
def test_is_infinite(since: int, positive: int, negative: int) -> None:
    data = np.array([np.inf, -np.inf, np.nan, 0, 3e38], np.float32)
    check_op("IsInf", [data], since, attributes={"detect_positive": positive, "detect_negative": negative})


def test_is_nan() -> None:
    check_op("IsNaN", [np.array([np.nan, np.inf, 0], np.float32)], 20)
