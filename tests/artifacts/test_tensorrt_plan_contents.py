from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from artifacts.tensorrt_plan_contents import TEXT_BYTES, KernelTexts, plan_contents
from tests.support.models import normal
from tests.support.tensorrt import built_plan

WEIGHT = normal(40, 40)


def kernel(number: int) -> bytes:
    return f'extern "C" __global__ void kernel_{number}() {{}}\n'.encode().ljust(TEXT_BYTES + number)


def test_the_kernel_of_a_real_plan_is_a_text() -> None:
    plan = built_plan("sm89")
    contents = plan_contents(plan, {})
    assert contents.bytes == len(plan)
    assert contents.kernels.texts == plan.count(b"#include <climits>") > 0
    assert TEXT_BYTES < contents.kernels.distinct_bytes <= contents.kernels.bytes < len(plan)
    assert contents.rest_bytes < 10_000


def test_a_text_ends_where_a_weight_begins_or_ends() -> None:
    """The last byte of a float may be a printable one."""
    near = np.frombuffer(b"?" * 600, np.uint8)
    contents = plan_contents(kernel(1) + near.tobytes() + kernel(2), {"w": near})
    assert contents.kernels == KernelTexts(
        texts=2, bytes=2 * TEXT_BYTES + 3, distinct=2, distinct_bytes=2 * TEXT_BYTES + 3
    )
    assert (contents.weights.held_bytes, contents.rest_bytes) == (600, 0)


def test_a_text_that_goes_over_many_chunks() -> None:
    text = kernel(1).ljust(9 << 20)
    contents = plan_contents(b"\0" * 100 + text + b"\0", {})
    assert contents.kernels.bytes == len(text)
    assert contents.rest_bytes == 101


@given(st.lists(st.one_of(st.integers(0, 3), st.sampled_from(["program", "weight", "name"]), st.binary(max_size=30))))
def test_a_plan_made_of_parts(parts: list[int | str | bytes]) -> None:
    made = {"program": b"main {}\n" * TEXT_BYTES, "weight": WEIGHT.tobytes(), "name": b"n" * (TEXT_BYTES - 1)}
    data = [kernel(p) if isinstance(p, int) else made[p] if isinstance(p, str) else b"\xff" + p for p in parts]
    contents = plan_contents(b"\0".join(data), {"w": WEIGHT})
    kernels = [kernel(part) for part in parts if isinstance(part, int)]
    assert contents.kernels == KernelTexts(
        texts=len(kernels),
        bytes=sum(map(len, kernels)),
        distinct=len(set(kernels)),
        distinct_bytes=sum(map(len, set(kernels))),
    )
    assert contents.program_bytes == parts.count("program") * len(made["program"])
    assert contents.weights.held_bytes == parts.count("weight") * WEIGHT.nbytes
    known = contents.kernels.bytes + contents.program_bytes + contents.weights.held_bytes
    assert contents.rest_bytes == contents.bytes - known


@given(st.binary(max_size=3000), st.lists(st.binary(max_size=1500), max_size=3))
def test_any_bytes(plan: bytes, weights: list[bytes]) -> None:
    contents = plan_contents(plan, {str(n): np.frombuffer(data, np.uint8) for n, data in enumerate(weights)})
    known = contents.kernels.bytes + contents.program_bytes + contents.rest_bytes
    assert 0 <= contents.rest_bytes <= contents.bytes == len(plan)
    assert known <= len(plan) <= known + contents.weights.held_bytes
