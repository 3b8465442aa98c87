from __future__ import annotations

import re
import struct
from importlib import metadata
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts.errors import BundleError
from artifacts.tensorrt_plan import CAPABILITY_BITS, HEADER_BYTES, PlanHeader, read_header, read_plan
from tests.support.tensorrt import built_plan

ALL = tuple(CAPABILITY_BITS)
READ_BYTES = 36
"""The rest of the header says nothing that is known."""


def changed(plan: bytes, at: int, piece: bytes) -> bytes:
    return plan[:at] + piece + plan[at + len(piece) :]


def test_every_set_of_capabilities_that_the_builder_takes() -> None:
    for count in range(1, len(ALL) + 1):
        for capabilities in combinations(ALL, count):
            plan = built_plan(*capabilities)
            assert read_header(plan, "plan").capabilities == capabilities


def test_capabilities_are_ascending_whatever_their_order_in_the_build() -> None:
    assert read_header(built_plan("sm120", "sm80", "sm89"), "plan").capabilities == ("sm80", "sm89", "sm120")


def test_every_capability_that_the_builder_knows_is_known_here() -> None:
    rtx = pytest.importorskip("tensorrt_rtx")
    assert {name.lower() for name in rtx.ComputeCapability.__members__ if name.startswith("SM")} == set(ALL)


def test_the_version_and_the_size() -> None:
    for elements in (4, 5000):
        plan = built_plan("sm86", elements=elements)
        header = read_header(plan, "plan")
        assert header.version_text == metadata.version("tensorrt_rtx")
        assert header.bytes == len(plan)


def test_the_header_is_as_long_as_the_runtime_says() -> None:
    rtx = pytest.importorskip("tensorrt_rtx")
    runtime = rtx.Runtime(rtx.Logger(rtx.Logger.INTERNAL_ERROR))
    assert runtime.engine_header_size == HEADER_BYTES


def test_a_file_is_read_as_its_bytes_are(tmp_path: Path) -> None:
    plan = built_plan("sm86", "sm89")
    (tmp_path / "p.plan").write_bytes(plan)
    assert read_plan(tmp_path / "p.plan", "p") == read_header(plan, "p") == read_header(plan[:64], "p", len(plan))


def test_a_file_that_is_cut_or_is_not_there(tmp_path: Path) -> None:
    plan = built_plan("sm86")
    (tmp_path / "p.plan").write_bytes(plan[:-1])
    message = f"has {len(plan) - 1} bytes, its header says {len(plan)}"
    with pytest.raises(BundleError, match=rf"engines/p\.plan: {message}"):
        read_plan(tmp_path / "p.plan", "engines/p.plan")
    with pytest.raises(BundleError, match=r"engines/q\.plan: cannot be read: No such file"):
        read_plan(tmp_path / "q.plan", "engines/q.plan")


@pytest.mark.parametrize(
    ("at", "piece", "message"),
    [
        (0, b"ftrt", "does not begin as one"),
        (8, struct.pack("<Q", 3), "has a header of layout 3 by version 1."),
        (24, b"\x02", "has a header of layout 2 by version 2."),
        (28, b"\0", "has a header of layout 2 by version 1."),
        (16, struct.pack("<Q", 1 << 60), f"its header says {1 << 60}"),
        (32, struct.pack("<I", 0), "is for no compute capability"),
        (32, struct.pack("<I", 0b1000_0100), "is for unknown compute capabilities (bits 0x80)"),
        (35, b"\x80", "is for unknown compute capabilities (bits 0x80000000)"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(at: int, piece: bytes, message: str) -> None:
    with pytest.raises(BundleError, match=re.escape(message)) as caught:
        read_header(changed(built_plan("sm86"), at, piece), "engines/p.plan")
    (problem,) = caught.value.problems
    assert (problem.stage, problem.subject) == ("plan", "engines/p.plan")
    assert "compile it again" in problem.hint or "Unspool that knows" in problem.hint


def test_a_beginning_that_is_shorter_than_a_header() -> None:
    plan = built_plan("sm86")
    with pytest.raises(BundleError, match="it has 63 bytes, a header alone has 64"):
        read_header(plan[:63], "plan", len(plan))


@given(st.binary(max_size=200))
def test_garbage(data: bytes) -> None:
    with pytest.raises(BundleError, match="is no TensorRT-RTX plan"):
        read_header(data, "plan")


@given(st.integers(0, 1 << 20))
def test_a_plan_of_another_length(length: int) -> None:
    plan = built_plan("sm86", "sm120")
    other = (plan * (length // len(plan) + 1))[:length]
    if length == len(plan):
        return
    with pytest.raises(BundleError, match=f"it has {length} bytes|has {length} bytes, its header says {len(plan)}"):
        read_header(other, "plan")


@given(st.dictionaries(st.integers(0, HEADER_BYTES - 1), st.integers(0, 255), min_size=1, max_size=5))
def test_a_damaged_header_is_an_error_or_says_something_else(damage: dict[int, int]) -> None:
    """Of the bytes that are read only the version's last three and the capabilities can be others and still be fine."""
    plan = built_plan("sm86", "sm120")
    before = read_header(plan, "plan")
    damaged = bytearray(plan)
    for at, value in damage.items():
        damaged[at] = value
    differ = {at for at in range(READ_BYTES) if damaged[at] != plan[at]}
    mask = int.from_bytes(damaged[32:36], "little")
    if differ <= {25, 26, 27, 32, 33, 34, 35} and 0 < mask < 64:
        capabilities = tuple(name for name, bit in CAPABILITY_BITS.items() if mask & bit)
        assert read_header(bytes(damaged), "plan") == PlanHeader(tuple(damaged[24:28]), capabilities, before.bytes)
    else:
        with pytest.raises(BundleError):
            read_header(bytes(damaged), "plan")
