from __future__ import annotations

import pytest

from artifacts.dtype import DType
from artifacts.errors import UsageError
from artifacts.tensorrt_plan import CAPABILITY_BITS, number_of
from compiler.targets.tensorrt_rtx import TARGET
from compiler.tensorrt.capabilities import parse_capabilities, type_problems, unknown_problems


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("8.9", ("sm89",)),
        ("12.0, 8.6,8.9,8.6", ("sm86", "sm89", "sm120")),
    ],
)
def test_capabilities_are_read_each_once_and_ascending(text: str, expected: tuple[str, ...]) -> None:
    assert parse_capabilities(text) == expected


def test_every_capability_is_read_as_it_is_written() -> None:
    assert parse_capabilities(",".join(map(number_of, CAPABILITY_BITS))) == tuple(CAPABILITY_BITS)
    assert set(TARGET.default_capabilities) <= set(CAPABILITY_BITS)


def test_all_that_are_none_are_named_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        parse_capabilities("8.9,9,sm86")
    assert [problem.message.split()[0] for problem in caught.value.problems] == ["'9'", "'sm86'"]


def test_those_that_a_target_does_not_know_are_named_with_those_it_does() -> None:
    (problem,) = unknown_problems(("sm86", "sm90"), ("sm86", "sm89", "sm120"))
    assert "9.0" in problem.message
    assert "8.6, 8.9, 12.0" in problem.hint


def test_types_that_some_gpus_lack_are_told_with_those_gpus() -> None:
    dtypes = (DType.FLOAT32, DType.BFLOAT16, DType.FLOAT8_E4M3FN)
    found = type_problems("engine e", dtypes, ("sm75", "sm86", "sm89"))
    assert [problem.message for problem in found] == [
        "computes in bfloat16, which GPUs of compute capability 7.5 cannot",
        "computes in float8_e4m3fn, which GPUs of compute capability 7.5, 8.6 cannot",
    ]
    assert not type_problems("engine e", dtypes, ("sm89", "sm120"))
