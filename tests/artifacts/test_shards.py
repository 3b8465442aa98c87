from __future__ import annotations

import json
import mmap
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from artifacts.canonical import sha256_file
from artifacts.dtype import DType
from artifacts.errors import BundleError
from artifacts.shards import MAX_HEADER_BYTES, ShardIndex, ShardTensor, mapped, parse_header, read_shard, write_shards
from artifacts.weights import WeightStore
from tests.artifacts.test_mapped_pages import mapped as map_of
from tests.artifacts.test_mapped_pages import resident

Array = npt.NDArray[Any]

NAME = "a" * 64
OTHER = "b" * 64


def test_contents_in_shards_are_mapped_and_the_others_stay(tmp_path: Path) -> None:
    arrays = [(np.arange(size, dtype=np.float32), None) for size in (100, 3)]
    store, (large, small) = WeightStore().with_tensors(arrays)
    found = mapped(store, write_shards(store, [large], tmp_path).shards, tmp_path)
    assert set(found) == set(store)
    for ref, (array, _) in zip((large, small), arrays, strict=True):
        np.testing.assert_array_equal(found.array(ref), array)
    assert not np.shares_memory(found.blobs[large.digest], store.blobs[large.digest])
    assert found.blobs[small.digest] is store.blobs[small.digest]


def test_a_shard_has_the_bytes_that_the_formats_own_library_writes(tmp_path: Path) -> None:
    arrays: list[Array] = [np.ones(3, np.int8), np.ones((2, 3), np.float32), np.arange(5), np.zeros((0, 2), np.float16)]
    store, refs = WeightStore().with_tensors((array, None) for array in arrays)
    (shard,) = write_shards(store, refs, tmp_path).shards
    named = {ref.digest: array for ref, array in zip(refs, arrays, strict=True)}
    assert (tmp_path / shard.path).read_bytes() == safetensors.numpy.save(named)


def test_a_mapped_content_is_in_no_memory_after_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "source"
    file.write_bytes(bytes(64 * mmap.PAGESIZE))
    store, ref = WeightStore().with_tensor(map_of(file))
    assert resident(file) == 0
    write_shards(store, [ref], tmp_path)
    assert resident(file) == 0


@st.composite
def tensors(draw: st.DrawFn) -> list[tuple[Array, DType]]:
    shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
    dtypes = draw(st.lists(st.sampled_from(list(DType)), min_size=1, max_size=8))
    return [(draw(hnp.arrays(dtype.numpy, shapes)), dtype) for dtype in dtypes]


@given(tensors(), st.integers(1, 200), st.randoms(use_true_random=False))
def test_what_is_written_is_mapped_back_from_where_the_index_says(
    tmp_path_factory: pytest.TempPathFactory, tensors: list[tuple[Array, DType]], limit: int, random: Any
) -> None:
    root = tmp_path_factory.mktemp("bundle")
    store, refs = WeightStore().with_tensors(tensors)
    index = write_shards(store, refs, root, limit)
    mapped, held = WeightStore(), list[ShardTensor]()
    for shard in index.shards:
        assert shard.path == f"weights/{shard.sha256[:16]}.safetensors"
        assert sha256_file(root / shard.path) == shard.sha256
        assert (root / shard.path).stat().st_size == shard.bytes
        read, contents = read_shard(root, shard.path)
        assert sum(tensor.nbytes for tensor in read) <= limit or len(read) == 1
        held += read
        mapped = mapped.merged(contents)
    assert set(mapped) == set(store)
    assert index.tensors == ShardIndex.read(root, index.shards).tensors == tuple(held)
    for (array, _), ref in zip(tensors, refs, strict=True):
        assert mapped.array(ref).tobytes() == array.tobytes()
        place = index.locate(ref)
        data = (root / place.path).read_bytes()[place.offset : place.offset + place.nbytes]
        assert data == array.tobytes()
        assert place.offset % min(8, ref.dtype.numpy.itemsize) == 0
    # The same contents in another order give the same files.
    random.shuffle(tensors)
    again, refs = WeightStore().with_tensors(tensors)
    other = write_shards(again, refs, tmp_path_factory.mktemp("other"), limit)
    assert other.shards == index.shards


def test_files_are_real_safetensors_that_show_real_tensors(tmp_path: Path) -> None:
    arrays: list[Array] = [np.arange(6, dtype=np.float32).reshape(2, 3), np.arange(3, dtype=np.int8)]
    store, refs = WeightStore().with_tensors((array, None) for array in arrays)
    (shard,) = write_shards(store, refs, tmp_path).shards
    loaded = safetensors.numpy.load_file(tmp_path / shard.path)
    for array, ref in zip(arrays, refs, strict=True):
        np.testing.assert_array_equal(loaded[ref.digest], array)
    assert [path.name for path in (tmp_path / "weights").iterdir()] == [f"{shard.sha256[:16]}.safetensors"]
    assert (tmp_path / shard.path).stat().st_mode & 0o777 == tmp_path.joinpath("weights").stat().st_mode & 0o666


@pytest.mark.parametrize("order", [1, -1])
def test_a_content_of_many_types_shows_as_the_widest_on_which_all_are_aligned(tmp_path: Path, order: int) -> None:
    views: list[Array] = [
        np.zeros(16, np.uint8),
        np.zeros((2, 2), np.float32),
        np.zeros(4, np.int32),
        np.zeros(2, np.float64),
    ]
    store, refs = WeightStore().with_tensors((array, None) for array in views)
    for count, dtype, shape in ((1, "uint8", (16,)), (3, "float32", (2, 2)), (4, "float64", (2,))):
        index = write_shards(store, refs[:count][::order], tmp_path)
        assert [(t.dtype, t.shape) for t in index.tensors] == [(DType(dtype), shape)]


def test_a_content_that_only_slices_reach_shows_whole_and_flat(tmp_path: Path) -> None:
    store, ref = WeightStore().with_tensor(np.zeros((3, 2), np.float32))
    index = write_shards(store, [ref.rows(0, 1), ref.rows(1, 3)], tmp_path)
    assert [(t.dtype, t.shape) for t in index.tensors] == [(DType.FLOAT32, (6,))]


@pytest.mark.parametrize(("limit", "counts"), [(16, [2, 1]), (15, [1, 1, 1]), (24, [3]), (1, [1, 1, 1])])
def test_a_shard_is_filled_up_to_its_limit(tmp_path: Path, limit: int, counts: list[int]) -> None:
    store, refs = WeightStore().with_tensors((np.array([n]), None) for n in range(3))
    shards = write_shards(store, refs, tmp_path, limit).shards
    assert [len(read_shard(tmp_path, shard.path)[0]) for shard in shards] == counts


def test_only_what_is_reached_is_written_and_ties_once(tmp_path: Path) -> None:
    store, (tied, again, _) = WeightStore().with_tensors((np.arange(n), None) for n in (4, 4, 5))
    index = write_shards(store, [tied, again.rows(1, 2)], tmp_path)
    assert [tensor.digest for tensor in index.tensors] == [tied.digest]
    assert write_shards(store, [], tmp_path).shards == ()


def test_the_index_places_views_and_refuses_what_is_not_there(tmp_path: Path) -> None:
    store, (ref, absent) = WeightStore().with_tensors([(np.arange(8), None), (np.arange(9), None)])
    index = write_shards(store, [ref], tmp_path)
    assert index.locate(ref.rows(3, 5)).offset == index.locate(ref).offset + 24
    with pytest.raises(KeyError):
        index.locate(absent)
    with pytest.raises(ValueError, match="beyond"):
        index.locate(ref.model_copy(update={"offset": 8}))


def shard(header: object, data: bytes = bytes(8), length: int | None = None) -> npt.NDArray[np.uint8]:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    size = struct.pack("<Q", len(text) if length is None else length)
    return np.frombuffer(size + text + data, np.uint8)


def entry(begin: int = 0, end: int = 8, **changes: object) -> dict[str, object]:
    return {"dtype": "F32", "shape": [(end - begin) // 4], "data_offsets": [begin, end], **changes}


def test_a_valid_header_is_accepted_with_or_without_metadata() -> None:
    for header in ({NAME: entry()}, {"__metadata__": {"k": "v"}, NAME: entry()}):
        (tensor,) = parse_header(shard(header), "x")
        assert (tensor.digest, tensor.dtype, tensor.shape, tensor.nbytes) == (NAME, DType.FLOAT32, (2,), 8)
    assert parse_header(shard({}, b""), "x") == ()


def test_tensors_come_in_file_order_whatever_the_headers() -> None:
    header = {OTHER: entry(8, 12), "c" * 64: entry(0, 0), NAME: entry(0, 8)}
    assert [tensor.digest for tensor in parse_header(shard(header, bytes(12)), "x")] == ["c" * 64, NAME, OTHER]


ATTACKS = {
    "empty": np.zeros(0, np.uint8),
    "cut in the length": np.zeros(7, np.uint8),
    "length beyond the file": shard({NAME: entry()}, length=10_000),
    "length beyond the bound": shard({NAME: entry()}, length=MAX_HEADER_BYTES + 1),
    "length of 2^64-1": shard({NAME: entry()}, length=2**64 - 1),
    "length that cuts the JSON": shard({NAME: entry()}, length=16),
    "not JSON": shard(b"{nonsense"),
    "not UTF-8": shard(b'{"\xff": 1}'),
    "a byte-order mark": shard(b"\xef\xbb\xbf{}", b""),
    "deeply nested": shard(b"[" * 200_000),
    "a list": shard([entry()]),
    "a number too long to parse": shard(b'{"a": ' + b"9" * 10_000 + b"}"),
    "one name twice": shard(b'{"%s": 1, "%s": 2}' % (NAME.encode(), NAME.encode())),
    "one field twice": shard(b'{"%s": {"dtype":"F32","dtype":"I32","shape":[2],"data_offsets":[0,8]}}' % NAME.encode()),
    "metadata that is no map": shard({"__metadata__": [], NAME: entry()}),
    "metadata that is no text": shard({"__metadata__": {"k": 1}, NAME: entry()}),
    "an entry that is no map": shard({NAME: []}),
    "an entry without a field": shard({NAME: {"dtype": "F32", "shape": [2]}}),
    "an entry with another field": shard({NAME: entry(extra=1)}),
    "a name that is no digest": shard({"weight": entry()}),
    "a name with a path": shard({"../" + "a" * 61: entry()}),
    "an unknown dtype": shard({NAME: entry(dtype="F7")}),
    "a dtype that is no text": shard({NAME: entry(dtype=["F32"])}),
    "a shape that is no list": shard({NAME: entry(shape="2")}),
    "a negative size": shard({NAME: entry(shape=[-2])}),
    "two negative sizes": shard({NAME: entry(shape=[-1, -2])}),
    "a fractional size": shard({NAME: entry(shape=[2.0])}),
    "a truth value as size": shard({NAME: entry(shape=[2, True])}),
    "a size of 2^63": shard({NAME: entry(shape=[2**63, 0], data_offsets=[0, 0])}, b""),
    "a product that would wrap to 8 bytes": shard({NAME: entry(shape=[2**62 + 2])}),
    "negative offsets": shard({NAME: entry(data_offsets=[-8, 0])}, b""),
    "offsets in the wrong order": shard({NAME: entry(data_offsets=[8, 0])}),
    "three offsets": shard({NAME: entry(data_offsets=[0, 4, 8])}),
    "a truth value as offset": shard({NAME: entry(data_offsets=[False, 8])}),
    "more bytes than the shape": shard({NAME: entry(shape=[1])}),
    "an end beyond the file": shard({NAME: entry(0, 16)}),
    "a hole at the start": shard({NAME: entry(8, 16)}, bytes(16)),
    "a hole between": shard({NAME: entry(0, 8), OTHER: entry(12, 16)}, bytes(16)),
    "a hole at the end": shard({NAME: entry(0, 8)}, bytes(12)),
    "an overlap": shard({NAME: entry(0, 8), OTHER: entry(4, 12)}, bytes(12)),
    "the same bytes twice": shard({NAME: entry(0, 8), OTHER: entry(0, 8)}),
    "not aligned": shard({NAME: entry(0, 1, dtype="U8", shape=[1]), OTHER: entry(1, 5, shape=[1])}, bytes(5)),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_header_that_is_not_valid_in_full_is_refused(attack: str) -> None:
    with pytest.raises(BundleError, match="not a valid weight shard") as caught:
        parse_header(ATTACKS[attack], "weights/x.safetensors")
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].subject == "weights/x.safetensors"


@given(st.data())
def test_a_header_with_any_changed_byte_is_refused_or_still_covers_the_file(data: st.DataObject) -> None:
    good = shard({NAME: entry(0, 8), OTHER: entry(8, 12)}, bytes(12))
    changed = good.copy()
    changed[data.draw(st.integers(0, len(good) - 13))] = data.draw(st.integers(0, 255))
    try:
        found = parse_header(changed, "x")
    except BundleError:
        return
    assert sum(tensor.nbytes for tensor in found) == 12
    assert [tensor.offset + tensor.nbytes for tensor in found][-1] == len(good)


def test_a_content_that_is_not_what_its_name_says_is_found(tmp_path: Path) -> None:
    store, (first, second) = WeightStore().with_tensors([(np.arange(4), None), (np.arange(5), None)])
    (shard,) = write_shards(store, [first, second], tmp_path).shards
    file = tmp_path / shard.path
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    with pytest.raises(BundleError, match="does not have the digest") as caught:
        read_shard(tmp_path, shard.path)
    assert len(caught.value.problems) == 1
    read_shard(tmp_path, shard.path, verify=False)


@pytest.mark.parametrize("content", [None, b""])
def test_a_missing_or_empty_file_is_a_bundle_error(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "shard").write_bytes(content)
    with pytest.raises(BundleError, match="cannot be mapped"):
        read_shard(tmp_path, "shard")
