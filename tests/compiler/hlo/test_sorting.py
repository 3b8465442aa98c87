"""Sorts without a sort, against torch, numpy and ONNX Runtime, whatever the elements: ties, NaN, infinities, zeros."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

jax = pytest.importorskip("jax")

from compiler.hlo.instructions import instructions  # noqa: E402 - JAX is an extra
from compiler.hlo.ops.reductions import first_largest  # noqa: E402
from compiler.hlo.ops.sorting import firsts  # noqa: E402
from compiler.hlo.sorts import MOST_COMPARED, MOST_ROUNDS  # noqa: E402
from compiler.neuron.preflight import preflight  # noqa: E402
from tests.support.programs import Array, answered, normal, parsed  # noqa: E402

_NUMBERS = [0.0, -0.0, 1.0, 1.5, -2.0, float("inf"), float("-inf")]
_SHAPES = st.sampled_from([(6,), (3, 5)])
"""Few, since JAX compiles anew for each."""

FLOATS = _SHAPES.flatmap(lambda s: arrays.arrays(np.float32, s, elements=st.sampled_from([*_NUMBERS, float("nan")])))
NUMBERS = _SHAPES.flatmap(lambda s: arrays.arrays(np.float32, s, elements=st.sampled_from(_NUMBERS)))
WHOLE = _SHAPES.flatmap(lambda s: arrays.arrays(np.int32, s, elements=st.sampled_from([-(2**31), -3, 0, 3, 2**31 - 1])))


def assert_same(actual: tuple[Any, Any], values: Array, places: Array) -> None:
    np.testing.assert_array_equal(np.asarray(actual[1]), places)
    np.testing.assert_array_equal(np.asarray(actual[0]), values)


@settings(max_examples=40, deadline=None)
@given(st.one_of(FLOATS, WHOLE), st.data())
def test_the_first_are_those_of_a_stable_sort(x: Array, data: st.DataObject) -> None:
    axis, descending = data.draw(st.integers(0, x.ndim - 1)), data.draw(st.booleans())
    count = data.draw(st.integers(0, x.shape[axis]))
    sorted_, places = torch.sort(torch.from_numpy(x), stable=True, dim=axis, descending=descending)
    wanted = [found.narrow(axis, 0, count).numpy() for found in (sorted_, places)]
    assert_same(firsts(x, axis, descending, count), *wanted)


@settings(max_examples=20, deadline=None)
@given(
    arrays.arrays(np.float32, (2, MOST_ROUNDS + 1), elements=st.sampled_from([*_NUMBERS, float("nan")])), st.booleans()
)
def test_all_of_few_elements_are_sorted_by_counting(x: Array, descending: bool) -> None:
    wanted = torch.sort(torch.from_numpy(x), stable=True, dim=1, descending=descending)
    assert_same(firsts(x, 1, descending), *(found.numpy() for found in wanted))


@settings(max_examples=30, deadline=None)
@given(NUMBERS, st.data())
def test_the_first_are_those_of_onnx_runtime(x: Array, data: st.DataObject) -> None:
    axis, largest = data.draw(st.integers(0, x.ndim - 1)), data.draw(st.booleans())
    count = data.draw(st.integers(1, x.shape[axis]))
    shape = ", ".join(map(str, x.shape))
    results = ", ".join("abc"[: x.ndim])
    text = f"""g (float[{shape}] x, int64[1] k) => (float[{results}] v, int64[{results}] i) {{
        v, i = TopK <axis = {axis}, largest = {int(largest)}> (x, k)
    }}"""
    wanted = answered(parsed(text), {"x": x, "k": np.array([count])}).outputs
    assert_same(firsts(x, axis, largest, count), wanted["v"], wanted["i"])


@settings(max_examples=60, deadline=None)
@given(st.one_of(FLOATS, WHOLE), st.data())
def test_the_largest_is_numpys(x: Array, data: st.DataObject) -> None:
    axis = data.draw(st.integers(0, x.ndim - 1))
    np.testing.assert_array_equal(first_largest(x, axis), np.argmax(x, axis))


def test_nothing_in_it_is_documented_to_be_refused() -> None:
    for size, count in ((1000, 5), (64, None)):

        def call(x: Any, count: int | None = count) -> Any:
            return firsts(x, 1, True, count)

        lowered = jax.jit(call).lower(normal(2, size))
        data = bytes(lowered.compiler_ir("hlo").as_serialized_hlo_module_proto())
        assert preflight(data) == ()
        assert "sort" not in {found.opcode for found in instructions(data)}


def test_many_of_many_are_told_with_the_limits() -> None:
    x = normal(1, MOST_COMPARED + 1)
    with pytest.raises(NotImplementedError, match=rf"first {MOST_ROUNDS + 1} of {MOST_COMPARED + 1} .*NCC_EVRF001"):
        firsts(x, 1, True, MOST_ROUNDS + 1)
