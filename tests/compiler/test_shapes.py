from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts.dtype import DType
from artifacts.errors import UsageError
from artifacts.spec import Signature
from compiler.shapes import Shapes, check_shapes, parse_shapes
from tests.support.bundles import spec

NAMES = st.text(string.ascii_letters + string.digits + "_.:/-@ ", min_size=1).filter(
    lambda name: name == name.strip() and not name.endswith(":")
)
SIZES = st.lists(st.integers(0, 10**6), max_size=5).map(tuple)
SHAPES = st.lists(st.tuples(NAMES, SIZES), unique_by=lambda item: item[0], max_size=4).map(tuple)

SIGNATURE = Signature(
    inputs=(spec("ids", DType.INT64, "batch", "seq"), spec("image", DType.FLOAT32, "batch", 3, 8, 8)),
    outputs=(spec("y", DType.FLOAT32, "batch"),),
)


def crosses(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes)) if sizes else "scalar"


def brackets(sizes: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, sizes))}]"


@given(SHAPES, st.sampled_from((crosses, brackets)), st.sampled_from((",", ", ", " , ")))
def test_what_is_written_is_read_back(shapes: Shapes, written: type, comma: str) -> None:
    text = comma.join(f"{name}:{written(sizes)}" for name, sizes in shapes)
    assert parse_shapes(text, "--opt-shapes") == shapes


@pytest.mark.parametrize(
    ("text", "shapes"),
    [
        ("", ()),
        ("gpu_0/data:0:1x3x224x224", (("gpu_0/data:0", (1, 3, 224, 224)),)),
        ("a:1x2,b:[3,4],c:scalar,d:5", (("a", (1, 2)), ("b", (3, 4)), ("c", ()), ("d", (5,)))),
        (" a : [ 1 , 2 ] , b:[]", (("a", (1, 2)), ("b", ()))),
    ],
)
def test_names_with_colons_and_slashes_lists_and_scalars(text: str, shapes: Shapes) -> None:
    assert parse_shapes(text, "--opt-shapes") == shapes


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("ids", "'ids'"),
        ("ids:", "'ids:'"),
        ("ids:1x", "'ids:1x'"),
        ("ids:-1x2", "'ids:-1x2'"),
        ("ids:1.5", "'ids:1.5'"),
        ("ids:[1,2", "'ids:[1,2'"),
        ("a:1x2,ids:?", "'ids:?'"),
        (":1x2", "':1x2'"),
    ],
)
def test_what_is_no_shape_is_named(text: str, named: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_shapes(text, "--min-shapes")
    (problem,) = caught.value.problems
    assert problem.subject == "--min-shapes"
    assert named in problem.message
    assert problem.hint


def test_an_input_given_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="'ids' twice"):
        parse_shapes("ids:1x2,ids:1x3", "--opt-shapes")


def test_shapes_that_fit_pass() -> None:
    check_shapes((("ids", (1, 16)), ("image", (2, 3, 8, 8))), SIGNATURE, "--opt-shapes")


def test_all_misfits_are_named_at_once() -> None:
    shapes = (("mask", (1, 16)), ("ids", (1, 16, 2)), ("image", (2, 4, 8, 8)))
    with pytest.raises(UsageError) as caught:
        check_shapes(shapes, SIGNATURE, "--max-shapes")
    unknown, rank, size = caught.value.problems
    assert "no input 'mask'" in unknown.message
    assert "ids" in unknown.hint
    assert "1x16x2 does not fit ids" in rank.message
    assert "2x4x8x8 does not fit image" in size.message
