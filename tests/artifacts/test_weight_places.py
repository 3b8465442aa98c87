from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts.weight_places import ALIGNMENT, align, is_aligned, new_places

Pieces = Sequence[tuple[int, int]]


def entry(key: bytes, value: int) -> bytes:
    """A map entry of a message in the wire format of protocol buffers, as external data of a tensor is."""
    digits = str(value).encode()
    pair = b"\n" + bytes([len(key)]) + key + b"\x12" + bytes([len(digits)]) + digits
    return b"j" + bytes([len(pair)]) + pair


def written(folder: Path, tensors: Pieces, packed: Pieces, size: int) -> tuple[Path, Path]:
    """An engine that names these places, and a file in which each byte of a piece says which piece it is of."""
    engine, weights = folder / "engine.onnx", folder / "weights.bin"
    named = [b"m" + entry(b"offset", offset) + entry(b"length", length) for offset, length in tensors]
    named += [b"MatMul+%d|%d;%d;77" % (number, *piece) for number, piece in enumerate(packed)]
    engine.write_bytes(b"\x08\x0a" + b"\x00between".join(named))
    content = bytearray(size)
    for number, (offset, length) in enumerate((*tensors, *packed), 1):
        content[offset : offset + length] = bytes([number]) * length
    weights.write_bytes(content)
    return engine, weights


@given(
    st.lists(
        st.tuples(st.integers(0, 3000), st.sampled_from([1, 2, 64, 62, 1024, 2400, 4096, 270462])),
        min_size=1,
        max_size=30,
    )
)
def test_pieces_keep_their_order_and_their_digits_and_do_not_overlap(drawn: list[tuple[int, int]]) -> None:
    pieces, end = dict[int, int](), 0
    for gap, length in drawn:
        pieces[end + gap] = length
        end += gap + length
    found = new_places(pieces)
    if found is None:
        return
    assert list(found) == list(pieces)
    end = 0
    for old, new in found.items():
        assert new % ALIGNMENT == 0
        assert len(str(new)) == len(str(old))
        assert new >= end
        end = new + pieces[old]


def test_a_place_without_room_for_its_digits_is_none() -> None:
    assert new_places({0: 1, 64: 30, 97: 10}) is None  # behind 64 + 30 the next multiple is 128
    assert new_places({0: 1, 64: 30, 128: 10}) == {0: 0, 64: 64, 128: 128}


def test_every_byte_is_where_the_engine_says(tmp_path: Path) -> None:
    tensors, packed = [(0, 2400), (5190, 100)], [(2400, 2790), (5290, 128)]
    engine, weights = written(tmp_path, tensors, packed, 5418)
    before = engine.read_bytes()
    assert not is_aligned(engine)
    assert align(engine, weights)
    assert is_aligned(engine)
    places = new_places(dict(sorted((*tensors, *packed))))
    assert places is not None
    content, after = weights.read_bytes(), engine.read_bytes()
    assert len(after) == len(before)
    for number, (offset, length) in enumerate((*tensors, *packed), 1):
        assert content[places[offset] : places[offset] + length] == bytes([number]) * length
    assert b"MatMul+0|%d;2790;77" % places[2400] in after
    assert entry(b"offset", places[5190]) + entry(b"length", 100) in after
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["engine.onnx", "weights.bin"]


@pytest.mark.parametrize("fault", ["bytes that nobody names", "overlap", "beyond the end", "a gap of more than a page"])
def test_what_is_not_understood_is_left_as_it_is(tmp_path: Path, fault: str) -> None:
    tensors, packed, size = [(0, 100)], [(132, 1000)], 1132
    if fault == "overlap":
        tensors = [(0, 133)]
    elif fault == "a gap of more than a page":
        packed, size = [(100_032, 1000)], 101_032
    engine, weights = written(tmp_path, tensors, packed, size)
    if fault == "bytes that nobody names":
        content = bytearray(weights.read_bytes())
        content[120] = 1
        weights.write_bytes(content)
    if fault == "beyond the end":
        weights.write_bytes(weights.read_bytes()[:-32])
    before = engine.read_bytes(), weights.read_bytes()
    assert not align(engine, weights)
    assert (engine.read_bytes(), weights.read_bytes()) == before
