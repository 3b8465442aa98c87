from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts.dtype import DType
from artifacts.padding import Padding, cropped, padded, sizes_of
from tests.support.bundles import spec

IDS = spec("ids", DType.INT64, "batch", "seq")
MASK = spec("mask", DType.BOOL, "batch", "seq")
IMAGE = spec("image", DType.FLOAT32, 1, "w", "batch")
SPECS = (IDS, MASK, IMAGE)
FILL = Padding(rows="batch", fill={"ids": 9}, exact=True)


def request(batch: int, seq: int, w: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(batch + 10 * seq + 100 * w)
    return {
        "ids": random.integers(0, 9, (batch, seq)),
        "mask": random.integers(0, 2, (batch, seq)).astype(np.bool_),
        "image": random.normal(size=(1, w, batch)).astype(np.float32),
    }


def test_rows_are_copies_and_the_rest_is_filled() -> None:
    given_ = request(2, 3, 1)
    found = padded(SPECS, given_, {"batch": 4, "seq": 5, "w": 2}, FILL)
    ids = given_["ids"]
    np.testing.assert_array_equal(found["ids"][:2], np.pad(ids, ((0, 0), (0, 2)), constant_values=9))
    np.testing.assert_array_equal(found["ids"][2:], found["ids"][[1, 1]])
    assert not found["mask"][:, 3:].any()
    assert found["mask"].dtype == np.bool_
    np.testing.assert_array_equal(found["image"][0, 0], given_["image"][0, 0][[0, 1, 1, 1]])
    assert not found["image"][0, 1].any()


def test_nothing_counts_rows_unless_it_is_said() -> None:
    found = padded((IDS,), request(2, 3, 1), {"batch": 4, "seq": 3}, Padding(fill={"ids": 9}, exact=True))
    assert (found["ids"][2:] == 9).all()


def test_no_rows_are_filled_too() -> None:
    assert padded((IDS,), request(0, 3, 1), {"batch": 2, "seq": 3}, FILL)["ids"].tolist() == [[9] * 3] * 2


@given(st.tuples(*[st.integers(0, 4)] * 3), st.tuples(*[st.integers(0, 3)] * 3))
def test_what_was_padded_is_cut_back(small: tuple[int, ...], more: tuple[int, ...]) -> None:
    given_ = request(*small)
    sizes = sizes_of(SPECS, given_)
    assert sizes == dict(zip(("batch", "seq", "w"), small, strict=True))
    large = {symbol: size + extra for (symbol, size), extra in zip(sizes.items(), more, strict=True)}
    found = padded(SPECS, given_, large, FILL)
    assert sizes_of(SPECS, found) == large
    for name, array in cropped(SPECS, found, sizes).items():
        np.testing.assert_array_equal(array, given_[name])
        assert array.dtype == given_[name].dtype
        assert array.flags.c_contiguous


@pytest.mark.parametrize(("dim", "width"), [("w//2", 2), ("2*w", 8), (8, 8), ("unknown", 8)])
def test_what_is_computed_from_a_size_is_cut_to_what_that_makes_of_it(dim: int | str, width: int) -> None:
    assert cropped((spec("y", DType.FLOAT32, dim),), {"y": np.zeros(8, np.float32)}, {"w": 4})["y"].shape == (width,)
