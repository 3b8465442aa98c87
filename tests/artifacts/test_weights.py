from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from artifacts.carriers import in_carrier
from artifacts.dtype import DType
from artifacts.weights import COMPARED_BYTES, WeightRef, WeightStore
from tests.artifacts.test_mapped_pages import mapped as map_of
from tests.artifacts.test_mapped_pages import resident

Array = npt.NDArray[Any]

NATIVE = [dtype for dtype in DType if dtype.is_native]
CARRIED = [dtype for dtype in DType if not dtype.is_native]


@st.composite
def arrays(draw: st.DrawFn) -> Array:
    """Arrays of every native type, in C order, in Fortran order or strided, big-endian too."""
    dtype = draw(st.sampled_from(NATIVE)).numpy.newbyteorder(draw(st.sampled_from("<>")))
    array: Array = draw(hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0, max_side=4)))
    layout = draw(st.sampled_from(["C", "F", "strided"]))
    if layout == "F":
        return np.asfortranarray(array)
    return array[::2] if layout == "strided" and array.ndim else array


@given(st.lists(arrays(), max_size=6))
def test_tensors_come_back_as_they_went_in_and_each_content_exists_once(tensors: list[Array]) -> None:
    store, refs = WeightStore().with_tensors((array, None) for array in tensors)
    for array, ref in zip(tensors, refs, strict=True):
        back = store.array(ref)
        assert back.shape == array.shape
        assert back.dtype == array.dtype.newbyteorder("<")
        assert back.tobytes() == array.astype(array.dtype.newbyteorder("<")).tobytes()
        assert not back.flags.writeable
    contents = {array.astype(array.dtype.newbyteorder("<")).tobytes() for array in tensors}
    assert set(store) == {hashlib.sha256(content).hexdigest() for content in contents}
    assert store.nbytes == sum(len(content) for content in contents)


@given(st.lists(arrays(), max_size=4), st.lists(arrays(), max_size=4))
def test_merging_stores_is_adding_the_tensors_of_both(left: list[Array], right: list[Array]) -> None:
    one, _ = WeightStore().with_tensors((array, None) for array in left)
    two, refs = WeightStore().with_tensors((array, None) for array in right)
    both, _ = one.with_tensors((array, None) for array in right)
    merged = one.merged(two)
    assert set(merged) == set(both) == set(one) | set(two)
    for ref in refs:
        assert merged.raw(ref).tobytes() == two.raw(ref).tobytes()


@given(hnp.arrays(np.int16, hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=5)), st.data())
def test_slices_of_slices_and_reshapes_are_views_without_bytes(array: Array, data: st.DataObject) -> None:
    store, ref = WeightStore().with_tensor(array)
    for _ in range(2):
        start = data.draw(st.integers(0, array.shape[0]))
        stop = data.draw(st.integers(start, array.shape[0]))
        array, ref = array[start:stop], ref.rows(start, stop)
        np.testing.assert_array_equal(store.array(ref), array)
        assert ref.nbytes == array.nbytes
    flat = ref.reshaped((ref.size,))
    np.testing.assert_array_equal(store.array(flat), array.reshape(-1))
    assert np.shares_memory(store.array(flat), store.blobs[ref.digest]) or not array.size
    assert len(store) == 1


@pytest.mark.parametrize("dtype", CARRIED)
def test_a_low_precision_tensor_is_its_carrier_with_the_logical_type_in_the_reference(dtype: DType) -> None:
    theirs = np.arange(6).astype(getattr(ml_dtypes, dtype.value)).reshape(2, 3)
    store, ref = WeightStore().with_tensor(theirs)
    carrier = in_carrier(theirs, dtype)
    carried, again = store.with_tensor(carrier, dtype)
    assert ref == again
    assert len(carried) == 1
    assert (ref.dtype, ref.nbytes) == (dtype, 6 * dtype.numpy.itemsize)
    assert store.array(ref).dtype == dtype.numpy
    assert store.array(ref).tobytes() == carrier.tobytes()


def test_equal_bytes_are_one_blob_whatever_the_type_and_shape() -> None:
    store, refs = WeightStore().with_tensors(
        [(np.zeros(8, np.uint8), None), (np.zeros((1, 2), np.float32), None), (np.zeros((), np.int64), None)]
    )
    assert len(store) == 1
    assert len({ref.digest for ref in refs}) == 1
    assert [store.array(ref).dtype.name for ref in refs] == ["uint8", "float32", "int64"]


def test_a_store_is_never_changed() -> None:
    empty = WeightStore()
    one, ref = empty.with_tensor(np.arange(3))
    assert (len(empty), len(one)) == (0, 1)
    assert ref.digest in one
    assert ref.digest not in empty
    with pytest.raises(TypeError):
        one.blobs["0" * 64] = one.blobs[ref.digest]  # type: ignore[index]
    with pytest.raises(ValueError, match="read-only"):
        one.array(ref)[0] = 7


def test_a_memory_map_is_kept_and_not_copied(tmp_path: Path) -> None:
    np.arange(1024, dtype=np.float32).tofile(tmp_path / "data")
    mapped = np.memmap(tmp_path / "data", np.float32, "r", shape=(32, 32))
    store, ref = WeightStore().with_tensor(mapped)
    assert np.shares_memory(store.array(ref), mapped)
    assert mapped.flags.c_contiguous


def test_the_callers_array_stays_writeable() -> None:
    array = np.zeros(3)
    WeightStore().with_tensor(array)
    assert array.flags.writeable


def test_contents_are_compared_before_they_are_merged() -> None:
    store = WeightStore(digest_of=lambda _: "0" * 64)
    store, _ = store.with_tensor(np.zeros(3, np.uint8))
    store, _ = store.with_tensor(np.zeros(3, np.uint8))
    for other in (np.ones(3, np.uint8), np.zeros(4, np.uint8)):
        with pytest.raises(ValueError, match="two different contents"):
            store.with_tensor(other)
        with pytest.raises(ValueError, match="two different contents"):
            store.merged(WeightStore(digest_of=store.digest_of).with_tensor(other)[0])


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.zeros(2, np.float32), DType.FLOAT64),
        (np.zeros(2, np.int8), DType.UINT8),
        (np.zeros(2, np.uint8), DType.BFLOAT16),
        (np.zeros(2, np.float16), DType.BFLOAT16),
        (np.array(["a"]), None),
        (np.array([object()]), None),
    ],
)
def test_an_array_that_cannot_hold_the_type_is_refused(array: Array, dtype: DType | None) -> None:
    with pytest.raises(ValueError, match=r"cannot hold|not a valid DType"):
        WeightStore().with_tensor(array, dtype)


def test_mapped_contents_are_compared_and_then_in_no_memory(tmp_path: Path) -> None:
    """Also one that is larger than what is compared at a time, and differs at its end only."""
    content = bytes(COMPARED_BYTES + 1)
    files = [tmp_path / name for name in ("one", "same", "other")]
    for file, last in zip(files, (b"a", b"a", b"b"), strict=True):
        file.write_bytes(content + last)
    one, same, other = (WeightStore(digest_of=lambda _: "0" * 64).with_tensor(map_of(file))[0] for file in files)
    assert one.merged(same).blobs["0" * 64] is one.blobs["0" * 64]
    with pytest.raises(ValueError, match="two different contents"):
        one.merged(other)
    assert [resident(file) for file in files] == [0, 0, 0]


def test_views_that_do_not_exist_are_refused() -> None:
    store, ref = WeightStore().with_tensor(np.zeros((3, 2), np.float32))
    for start, stop in ((-1, 2), (2, 1), (0, 4)):
        with pytest.raises(ValueError, match="no rows"):
            ref.rows(start, stop)
    with pytest.raises(ValueError, match="no rows"):
        ref.reshaped((6,)).rows(0, 1).reshaped(()).rows(0, 0)
    for shape in ((5,), (-3, -2)):
        with pytest.raises(ValueError, match="cannot reshape"):
            ref.reshaped(shape)
    for beyond in (ref.model_copy(update={"offset": 4}), ref.model_copy(update={"shape": (7,)})):
        with pytest.raises(ValueError, match="beyond a blob of 24 bytes"):
            store.array(beyond)
    with pytest.raises(KeyError):
        store.array(ref.model_copy(update={"digest": "0" * 64}))


def test_a_reference_survives_json() -> None:
    _, ref = WeightStore().with_tensor(np.zeros((3, 2), np.uint16), DType.BFLOAT16)
    assert WeightRef.model_validate_json(ref.rows(1, 2).model_dump_json()) == ref.rows(1, 2)
