from __future__ import annotations

import numpy as np
import pytest

from artifacts.checks import OutputCheck, Tolerances, check_decoded, check_outputs, require_equal
from artifacts.dtype import DType
from artifacts.errors import NumericsError
from artifacts.samples import Sample
from artifacts.spec import Signature
from artifacts.tolerances import EXACT, TOLERANCES, Tolerance, tolerance_for
from tests.support.bundles import spec

SIGNATURE = Signature(
    inputs=(),
    outputs=(spec("scores", DType.FLOAT32, 2), spec("best", DType.INT64, 1), spec("low", DType.BFLOAT16, 1)),
)
SAMPLE = Sample(
    {},
    {
        "scores": np.array([1, 2], np.float32),
        "best": np.array([1]),
        "low": np.array([0x3F80], np.uint16),
    },
    {"tokens": np.array([[4, 2]]), "lengths": np.array([2])},
)


def test_an_override_replaces_one_bound_of_every_float_and_nothing_else() -> None:
    tolerances = Tolerances.of(atol=None, rtol=0.5)
    for dtype in DType:
        expected = tolerance_for(dtype)
        if dtype in TOLERANCES:
            expected = Tolerance(atol=expected.atol, rtol=0.5)
        assert tolerances.for_dtype(dtype) == expected


def test_without_an_override_the_table_holds() -> None:
    assert all(Tolerances.of(None, None).for_dtype(dtype) == tolerance_for(dtype) for dtype in DType)


def test_a_bound_of_zero_is_a_bound() -> None:
    assert Tolerances.of(0.0, 0.0).for_dtype(DType.FLOAT32) == EXACT


def test_each_output_is_compared_by_its_type() -> None:
    actual = {
        "scores": np.array([1, 2.0001], np.float32),
        "best": np.array([2]),
        "low": np.array([0x3F81], np.uint16),
    }
    found = {c.output: c.comparison for c in check_outputs("m", SIGNATURE, 3, SAMPLE, actual, Tolerances())}
    assert {name: comparison.passed for name, comparison in found.items()} == {
        "scores": True,
        "best": False,
        "low": True,
    }
    assert found["low"].max_abs == 0.0078125, "values are compared, not bits"


@pytest.mark.parametrize(("tokens", "passed"), [([[4, 2]], True), ([[4, 3]], False), ([[4]], False)])
def test_decoded_tokens_have_to_be_equal(tokens: list[list[int]], passed: bool) -> None:
    actual = {"tokens": np.array(tokens), "lengths": np.array([2])}
    assert [check.comparison.passed for check in check_decoded("m", 0, SAMPLE, actual, Tolerances())] == [passed, True]


def test_tokens_that_fewer_bits_chose_are_compared_and_not_required_to_be_equal() -> None:
    loosened = Tolerances().loosened(Tolerance(atol=0, rtol=0, scale=0.1))
    actual = {"tokens": np.array([[4, 3]]), "lengths": np.array([2])}
    checks = list(check_decoded("m", 0, SAMPLE, actual, loosened))
    assert [(check.comparison.passed, check.passed) for check in checks] == [(False, True), (True, True)]
    require_equal(checks, "verify", "emission")


def test_fewer_bits_loosen_floats_only_and_not_what_the_user_gave() -> None:
    reduced = Tolerance(atol=0, rtol=0, scale=0.1)
    loosened = Tolerances().loosened(reduced).loosened(Tolerance(atol=0, rtol=0.2, scale=0.05))
    assert loosened.for_dtype(DType.FLOAT32) == Tolerance(atol=1e-6, rtol=0.2, scale=0.1)
    assert loosened.for_dtype(DType.INT64) == EXACT
    given = Tolerances.of(1e-3, None)
    assert given.loosened(reduced).for_dtype(DType.FLOAT32) == given.for_dtype(DType.FLOAT32)
    assert Tolerances().exact_tokens
    assert not loosened.exact_tokens


def test_every_output_that_moved_is_in_the_error_with_what_would_pass() -> None:
    actual = {"scores": np.array([1, 3], np.float32), "best": np.array([2]), "low": np.array([0x3F80], np.uint16)}
    checks: list[OutputCheck] = list(check_outputs("m", SIGNATURE, 3, SAMPLE, actual, Tolerances()))
    with pytest.raises(NumericsError) as caught:
        require_equal(checks, "verify", "fold-constants", "; first at node 7")
    told = [(problem.subject, problem.hint) for problem in caught.value.problems]
    assert told == [
        ("m: output 'scores', sample 3", "--atol 1.01e+00 would pass"),
        ("m: output 'best', sample 3", NumericsError.hint),
    ]
    assert "after fold-constants: max_abs 1," in caught.value.problems[0].message
    assert caught.value.problems[0].message.endswith("; first at node 7")
    require_equal(checks[2:], "verify", "fold-constants")
