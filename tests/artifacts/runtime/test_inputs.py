from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts.dtype import DType
from artifacts.errors import RunError
from artifacts.runtime.inputs import checked_inputs
from artifacts.spec import TensorSpec
from tests.support.bundles import spec

Array = npt.NDArray[Any]

IDS = spec("ids", DType.INT64, "batch", "length")
MASK = spec("mask", DType.INT64, "batch", "length")
IMAGE = spec("image", DType.FLOAT32, "batch", 3, 8)
SPECS = (IDS, MASK, IMAGE)


def good() -> dict[str, Array]:
    return {
        "ids": np.zeros((2, 5), np.int64),
        "mask": np.ones((2, 5), np.int64),
        "image": np.zeros((2, 3, 8), np.float32),
    }


def refused(given: dict[str, Any], specs: tuple[TensorSpec, ...] = SPECS) -> dict[str, str]:
    with pytest.raises(RunError) as caught:
        checked_inputs(specs, given)
    assert all(problem.hint for problem in caught.value.problems)
    return {problem.subject: problem.message for problem in caught.value.problems}


def test_good_arrays_pass_as_they_are() -> None:
    given = good()
    checked = checked_inputs(SPECS, dict(reversed(given.items())))
    assert list(checked) == ["ids", "mask", "image"]
    assert all(checked[name] is given[name] for name in given)


def test_everything_wrong_comes_at_once() -> None:
    given: dict[str, Any] = good() | {"idz": np.zeros(1), "image": np.zeros((2, 3), np.float64)}
    del given["ids"]
    with pytest.raises(RunError) as caught:
        checked_inputs(SPECS, given)
    told = [(p.subject, p.message, p.hint) for p in caught.value.problems]
    assert told == [
        ("ids", "is missing", "give ids: int64[batch, length]"),
        ("idz", "is not an input of this model", "did you mean ids?"),
        (
            "image",
            "is float64, the model takes float32",
            "array.astype(numpy.float32) if you accept that values may change",
        ),
        ("image", "has 2 dimensions, the model takes 3", "give image: float32[batch, 3, 8]"),
    ]


def test_a_name_like_no_other_gets_the_list() -> None:
    with pytest.raises(RunError, match="the inputs are: ids, mask, image"):
        checked_inputs(SPECS, good() | {"zzzzzz": np.zeros(1)})


def test_a_fixed_dimension_has_its_size() -> None:
    assert refused(good() | {"image": np.zeros((2, 4, 8), np.float32)}) == {
        "image": "has size 4 in dimension 1, the model takes 3"
    }


def test_a_symbol_has_one_size_across_inputs_and_within_one() -> None:
    assert refused(good() | {"mask": np.ones((2, 6), np.int64)}) == {
        "mask": "has size 6 in dimension 1, which is 'length' and 5 in ids"
    }
    square = spec("square", DType.FLOAT32, "n", "n")
    assert refused({"square": np.zeros((2, 3), np.float32)}, (square,)) == {
        "square": "has size 3 in dimension 1, which is 'n' and 2 in square"
    }


LOSSLESS = {
    DType.FLOAT16: {"float16"},
    DType.FLOAT32: {"float16", "float32"},
    DType.FLOAT64: {"float16", "float32", "float64"},
    DType.INT8: {"int8"},
    DType.INT32: {"int8", "int16", "int32", "uint8", "uint16"},
    DType.INT64: {"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"},
    DType.UINT64: {"uint8", "uint16", "uint32", "uint64"},
    DType.BOOL: {"bool"},
    DType.COMPLEX128: {"complex64", "complex128"},
}


@pytest.mark.parametrize("dtype", LOSSLESS)
@pytest.mark.parametrize("given", [dtype.value for dtype in DType if dtype.is_native])
def test_only_casts_that_cannot_change_a_value_are_made(dtype: DType, given: str) -> None:
    wanted = spec("x", dtype, 2)
    array = np.array([0, 1]).astype(given)
    if given in LOSSLESS[dtype]:
        checked = checked_inputs((wanted,), {"x": array})["x"]
        assert checked.dtype == dtype.numpy
        np.testing.assert_array_equal(checked, array)
    else:
        assert refused({"x": array}, (wanted,)) == {"x": f"is {given}, the model takes {dtype}"}


@given(st.data())
def test_extreme_values_survive_every_cast_that_is_made(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(sorted(LOSSLESS)))
    given = np.dtype(data.draw(st.sampled_from(sorted(LOSSLESS[dtype]))))
    if given.kind in "iu":
        limits = np.iinfo(given.name)
        array = np.array([limits.min, limits.max], given)
    elif given.kind == "b":
        array = np.array([False, True])
    else:
        array = np.array([np.finfo(given.name).min, np.finfo(given.name).smallest_subnormal], given)
    checked = checked_inputs((spec("x", dtype, 2),), {"x": array})["x"]
    assert checked.tolist() == array.tolist()


@pytest.mark.parametrize("carrier", [None, DType.UINT16])
def test_bfloat16_comes_as_its_bits_or_from_ml_dtypes(carrier: DType | None) -> None:
    wanted = TensorSpec(name="x", dtype=DType.BFLOAT16, shape=(2,), carrier=carrier)
    bits = np.array([0x3F80, 0x4000], np.uint16)
    for array in (bits, bits.view(ml_dtypes.bfloat16)):
        checked = checked_inputs((wanted,), {"x": array})["x"]
        assert checked.dtype == np.uint16
        np.testing.assert_array_equal(checked, bits)
    for wrong in (np.zeros(2, np.float32), np.zeros(2, np.float16), np.zeros(2, np.uint8)):
        assert "takes bfloat16" in refused({"x": wrong}, (wanted,))["x"]


def test_other_layouts_and_byte_orders_become_what_an_engine_reads() -> None:
    fortran = np.asfortranarray(np.arange(24, dtype=np.float32).reshape(1, 3, 8))
    swapped = np.arange(24, dtype=np.float32).reshape(1, 3, 8).astype(">f4")
    for array in (fortran, swapped, fortran[:, ::-1][:, ::-1]):
        checked = checked_inputs((IMAGE,), {"image": array})["image"]
        assert checked.flags.c_contiguous
        assert checked.dtype == np.dtype("<f4")
        np.testing.assert_array_equal(checked, array)


def test_scalars_keep_their_rank() -> None:
    wanted = spec("position", DType.INT64)
    for scalar in (3, np.int64(3), np.array(3)):
        assert checked_inputs((wanted,), {"position": scalar})["position"].shape == ()


@pytest.mark.parametrize("wrong", [["a"], [object()], [None], "text"])
def test_what_no_tensor_holds_is_refused(wrong: Any) -> None:
    assert "x" in refused({"x": wrong}, (spec("x", DType.FLOAT32, 1),))


def test_rows_of_unlike_length_are_refused() -> None:
    assert "x" in refused({"x": [[1.0], [1.0, 2.0]]}, (spec("x", DType.FLOAT32, 2, "n"),))
