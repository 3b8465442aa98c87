from __future__ import annotations

import io
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from artifacts.dtype import DType
from artifacts.errors import BundleError
from artifacts.samples import archive_bytes, read_arrays, stored_samples
from tests.artifacts.strategies import TEXT
from tests.support import bundles

Array = npt.NDArray[Any]

ARRAYS = st.dictionaries(
    TEXT.filter(lambda name: "\0" not in name) | st.sampled_from(["file", "allow_pickle", "args", "x.npy", "a/b"]),
    st.sampled_from([dtype.numpy for dtype in DType if dtype.is_native]).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    ),
    max_size=3,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("samples") / "x.npz"


@given(arrays=ARRAYS)
def test_arrays_of_any_name_and_type_survive_their_file(place: Path, arrays: dict[str, Array]) -> None:
    place.write_bytes(archive_bytes(arrays))
    found = read_arrays(place)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()
    assert archive_bytes(arrays) == place.read_bytes()


GOOD = archive_bytes({"x": np.arange(4.0), "y": np.zeros((2, 0), np.int8)})


@given(st.data())
def test_a_damaged_file_is_read_or_one_bundle_error(place: Path, data: st.DataObject) -> None:
    damaged = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(GOOD) - 1))] = data.draw(st.integers(0, 255))
    place.write_bytes(damaged[: data.draw(st.integers(0, len(GOOD)) | st.just(len(GOOD)))])
    try:
        found = read_arrays(place)
    except BundleError:
        return
    assert all(isinstance(array, np.ndarray) for array in found.values())


def npz(name: str, content: bytes, *, again: bool = False) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, warnings.catch_warnings(action="ignore"):
        for _ in range(1 + again):
            archive.writestr(name, content)
    return buffer.getvalue()


def npy(array: Array, *, allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


ATTACKS = {
    "empty": b"",
    "text": b"hello",
    "a single array": npy(np.zeros(3)),
    "objects": npz("x.npy", npy(np.array([{}], object), allow_pickle=True)),
    "not an array": npz("x.npy", b"hello"),
    "another member": npz("x.txt", b"hello"),
    "a header that is code": npz("x.npy", npy(np.zeros(3)).replace(b"{'descr'", b"print(1)")),
    "more elements than bytes": npz("x.npy", npy(np.zeros(3)).replace(b"(3,), ", b"(30,),")),
    "more elements than memory": npz("x.npy", npy(np.zeros(3)).replace(b"(3,), }" + b" " * 17, b"(%d,), }  " % 10**15)),
    "a negative size": npz("x.npy", npy(np.zeros(3)).replace(b"(3,), ", b"(-3,),")),
    "text elements": npz("x.npy", npy(np.array(["a"]))),
    "records": npz("x.npy", npy(np.zeros(2, [("a", "f4")]))),
    "a name twice": npz("x.npy", npy(np.zeros(3)), again=True),
    "an unknown version": npz("x.npy", npy(np.zeros(3)).replace(b"NUMPY\x01", b"NUMPY\x09")),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_is_no_npz_of_arrays_is_a_bundle_error(place: Path, attack: str) -> None:
    place.write_bytes(ATTACKS[attack])
    with pytest.raises(BundleError, match="not an"):
        read_arrays(place)


def test_numpys_own_files_are_read(place: Path) -> None:
    fortran = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    for save in (np.savez, np.savez_compressed):
        save(place, x=fortran, y=np.float16(2))
        found = read_arrays(place)
        np.testing.assert_array_equal(found["x"], fortran)
        assert found["y"].shape == ()
        assert found["x"].flags.writeable


def test_numpy_reads_ours() -> None:
    with np.load(io.BytesIO(archive_bytes({"x": np.arange(3), "y": np.zeros(())}))) as found:
        assert {name: found[name].tolist() for name in found.files} == {"x": [0, 1, 2], "y": 0.0}


def test_a_missing_file_is_a_bundle_error(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="No such file"):
        read_arrays(tmp_path / "absent.npz")


def test_a_bundles_samples_are_read_from_it(tmp_path: Path) -> None:
    bundle = bundles.write(tmp_path / "b", {"m": bundles.linear()})
    x, y = np.arange(4.0), np.zeros(2, np.int8)
    for path, arrays in ((bundles.SAMPLE.inputs, {"x": x}), (bundles.SAMPLE.outputs, {"y": y})):
        (bundle.root / path).write_bytes(archive_bytes(arrays))
    (sample,) = stored_samples(bundle, "m")
    np.testing.assert_array_equal(sample.inputs["x"], x)
    np.testing.assert_array_equal(sample.outputs["y"], y)
    assert not sample.decoded
