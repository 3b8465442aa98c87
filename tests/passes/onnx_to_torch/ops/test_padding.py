from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.onnx_ops import FEW, Array, check_op, run_op, sample

PADS = st.lists(st.integers(0, 3), min_size=4, max_size=4)
MODES = {"constant": "constant", "reflect": "reflect", "edge": "edge", "wrap": "wrap"}
DTYPES = ["float32", "float16", "float64", "int32", "int64", "uint8", "uint16", "bool"]


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


def padded(data: Array, pads: list[int], mode: str) -> Array:
    rank = data.ndim
    return np.pad(data, list(zip(pads[:rank], pads[rank:], strict=True)), mode)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize(("since", "name"), [(1, "paddings"), (2, "pads")])
@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
@FEW
@given(pads=PADS)
def test_pads_as_an_attribute(since: int, name: str, mode: str, pads: list[int]) -> None:
    data = sample((4, 5))
    check_op("Pad", [data], since, attributes={name: pads, "mode": mode}, expected=[padded(data, pads, mode)])


def test_the_value_as_an_attribute() -> None:
    data = sample((2,))
    expected = np.array([9, 9, *data], np.float32)
    check_op("Pad", [data], 2, attributes={"pads": [2, 0], "value": 9.0}, expected=[expected])


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("mode", [*MODES])
@pytest.mark.parametrize("since", [11, 13, 18, 19, 21, 23, 24, 25])
@FEW
@given(pads=PADS, dtype=st.sampled_from(DTYPES))
def test_pads_as_an_input(since: int, mode: str, constant: bool, pads: list[int], dtype: str) -> None:
    if (mode == "wrap" and since < 19) or (since < 13 and dtype == "bool"):
        return
    data = sample((4, 5), dtype)
    attributes = {"mode": mode}
    constants = {1} if constant else set[int]()
    expected = [padded(data, pads, mode)]
    check_op("Pad", [data, ints(*pads)], since, attributes=attributes, constants=constants, expected=expected)


@pytest.mark.parametrize("constants", [{1, 2}, {1}])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_value_as_an_input(constants: set[int], dtype: str) -> None:
    data, value = sample((2, 3), dtype), np.array(1, dtype)
    expected = np.pad(data, [(1, 0), (0, 2)], constant_values=value)
    check_op("Pad", [data, ints(1, 0, 0, 2), value], 13, constants=constants, expected=[expected])


def test_a_large_integer_value_is_exact() -> None:
    value = np.array(2**53 + 1, np.int64)
    (result,) = run_op("Pad", [ints(1), ints(1, 0), value], 13, constants={1, 2})
    assert result.tolist() == [2**53 + 1, 1]


@pytest.mark.parametrize("mode", [*MODES])
def test_chosen_axes(mode: str) -> None:
    data = sample((4, 5, 6))
    inputs = [data, ints(1, 2, 3, 0), None, ints(-1, 0)]
    expected = [padded(data, [2, 0, 1, 0, 0, 3], mode)]
    check_op("Pad", inputs, 19, attributes={"mode": mode}, constants={1, 3}, expected=expected)


@pytest.mark.parametrize("mode", ["reflect", "edge", "wrap"])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_images_of_any_rank(mode: str, axes: int) -> None:
    data = sample((2, 3, 4, 5, 6)[: axes + 2])
    pads = [0, 0, *[1, 2, 3][:axes], 0, 0, *[2, 0, 1][:axes]]
    expected = [padded(data, pads, mode)]
    check_op("Pad", [data, ints(*pads)], 19, attributes={"mode": mode}, constants={1}, expected=expected)


@pytest.mark.parametrize("mode", ["reflect", "wrap"])
def test_pads_longer_than_the_axis_go_round_again(mode: str) -> None:
    data = sample((1, 1, 3))
    pads = [0, 0, 7, 0, 0, 8]
    expected = [padded(data, pads, mode)]
    check_op("Pad", [data, ints(*pads)], 19, attributes={"mode": mode}, constants={1}, expected=expected)


def test_reflection_of_a_single_element() -> None:
    check_op("Pad", [np.ones((1, 1), np.float32), ints(0, 2, 0, 1)], 19, attributes={"mode": "reflect"}, constants={1})


@pytest.mark.parametrize("mode", [*MODES])
def test_negative_pads_remove(mode: str) -> None:
    data = sample((5, 6))
    cut = data[1:, :-2]
    expected = [padded(cut, [0, 2, 1, 0], mode)]
    inputs = [data, ints(-1, 2, 1, -2)]
    check_op("Pad", inputs, 19, attributes={"mode": mode}, constants={1}, expected=expected)


@pytest.mark.parametrize("mode", [*MODES])
def test_follows_the_size(mode: str) -> None:
    pads = ints(0, 0, 1, 0, 0, 2)
    inputs, others = [sample((2, 3, 4)), pads], [sample((5, 3, 8)), pads]
    check_op("Pad", inputs, 19, attributes={"mode": mode}, constants={1}, symbolic=others)


@pytest.mark.parametrize("sizes", [(3, 8), (4, 5), (9, 2), (5, 6)])
def test_center_crop_pad(sizes: tuple[int, int]) -> None:
    check_op("CenterCropPad", [sample((5, 6)), ints(*sizes)], 18, constants={1})
    check_op("CenterCropPad", [sample((5, 3, 6)), ints(*sizes)], 18, attributes={"axes": [0, -1]}, constants={1})


def test_center_crop_pad_follows_the_size() -> None:
    inputs, others = [sample((9, 2)), ints(4, 8)], [sample((7, 3)), ints(4, 8)]
    check_op("CenterCropPad", inputs, 18, constants={1}, symbolic=others)
