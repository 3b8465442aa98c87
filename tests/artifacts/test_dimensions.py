from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts.dimensions import signature_at, size_at
from artifacts.dtype import DType
from artifacts.spec import Signature
from tests.support.bundles import spec

SIZES = {"w": 10, "batch": 3, "past len": 4}


@pytest.mark.parametrize(
    ("dim", "size"),
    [
        (7, 7),
        ("w", 10),
        ("past len", 4),
        ("w//2", 5),
        ("((w//4)) + 1", 3),
        ("2*w - batch", 17),
        ("-batch + w", 7),
        ("w % 4", 2),
        ("h", None),
        ("w + h", None),
        ("batch - w", None),
        ("w//0", None),
        ("past len + 1", None),
        ("", None),
        ("w**9", None),
        ("len(w)", None),
        ("w.real", None),
        ("True", None),
        ("(" * 999, None),
        ("+".join("w" * 3000), None),
    ],
)
def test_a_dimension_is_as_large_as_its_symbols_tell(dim: int | str, size: int | None) -> None:
    assert size_at(dim, SIZES) == size


@given(st.text(max_size=40))
def test_no_text_is_run_or_fails(text: str) -> None:
    found = size_at(text, SIZES)
    assert found is None or found >= 0


def test_a_signature_keeps_what_is_not_told() -> None:
    given_ = Signature(
        inputs=(spec("x", DType.FLOAT32, "batch", "h", "w"),), outputs=(spec("y", DType.FLOAT32, "w//2", 5),)
    )
    found = signature_at(given_, SIZES)
    assert (found.inputs[0].shape, found.outputs[0].shape) == ((3, "h", 10), (5, 5))
