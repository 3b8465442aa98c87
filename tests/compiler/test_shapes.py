from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts.dtype import DType
from artifacts.errors import UsageError
from artifacts.spec import Signature
from compiler.shapes import Range, ShapeRanges, Shapes, paired, parse_shapes, symbol_ranges
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
    ShapeRanges(opt=(("ids", (2, 16)), ("image", (2, 3, 8, 8)))).check(SIGNATURE)


def test_all_misfits_are_named_at_once() -> None:
    shapes = (("mask", (1, 16)), ("ids", (1, 16, 2)), ("image", (2, 4, 8, 8)))
    with pytest.raises(UsageError) as caught:
        ShapeRanges(max=shapes).check(SIGNATURE)
    unknown, rank, size = caught.value.problems
    assert "no input 'mask'" in unknown.message
    assert "ids" in unknown.hint
    assert "1x16x2 does not fit ids" in rank.message
    assert "2x4x8x8 does not fit image" in size.message


def ranges(least: Shapes = (), usual: Shapes = (), most: Shapes = ()) -> dict[str, Range]:
    return symbol_ranges(SIGNATURE, ShapeRanges(least, usual, most))


def test_sizes_of_one_input_are_those_of_its_symbols_everywhere() -> None:
    found = ranges((("ids", (1, 4)),), (("ids", (8, 16)),), (("ids", (32, 128)),))
    assert found == {"batch": Range(1, 8, 32), "seq": Range(4, 16, 128)}


def test_what_is_not_given_is_the_usual_size_or_the_nearest() -> None:
    assert ranges(usual=(("ids", (8, 16)),)) == {"batch": Range(8, 8, 8), "seq": Range(16, 16, 16)}
    assert ranges((("ids", (1, 4)),), (), (("ids", (8, 16)),))["batch"] == Range(1, 8, 8)
    assert ranges((("ids", (1, 4)),)) == {"batch": Range(1, 1, 1), "seq": Range(4, 4, 4)}


def test_shapes_that_are_not_given_are_filled_alike() -> None:
    given = ShapeRanges(min=(("a", (1,)), ("b", (2,))), opt=(("c", (3,)),), max=(("b", (4,)), ("c", (5,))))
    assert given.filled == ShapeRanges(
        min=(("a", (1,)), ("b", (2,)), ("c", (3,))),
        opt=(("a", (1,)), ("b", (4,)), ("c", (3,))),
        max=(("a", (1,)), ("b", (4,)), ("c", (5,))),
    )
    assert given.filled.filled == given.filled


def test_contradictions_are_told_at_once() -> None:
    image = ("image", (8, 3, 8, 8))
    with pytest.raises(UsageError) as caught:
        ranges((("ids", (9, 4)), image), (("ids", (8, 16)),), (("ids", (32, 8)),))
    messages = [problem.message for problem in caught.value.problems]
    assert messages[0] == "gives batch the sizes 9 and 8"
    assert messages[1:] == ["seq is at least 4, usually 16 and at most 8"]


def test_a_flag_given_once_holds_for_all_ranges() -> None:
    one, two = (("ids", (1, 16)),), (("ids", (1, 64)),)
    assert paired([], [one, two], [two]) == (ShapeRanges((), one, two), ShapeRanges((), two, two))
    assert paired([], [], []) == ()


def test_flags_given_unequally_often_are_named() -> None:
    one: Shapes = (("ids", (1, 16)),)
    with pytest.raises(UsageError) as caught:
        paired([one, one], [one], [one, one, one])
    assert [problem.subject for problem in caught.value.problems] == ["--min-shapes"]
