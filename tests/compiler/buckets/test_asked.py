from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from artifacts.dtype import DType
from artifacts.errors import UsageError
from artifacts.spec import Signature
from compiler.buckets.asked import asked_buckets, bucket_problems
from compiler.options import CompileOptions
from compiler.shapes import ShapeRanges, Shapes
from compiler.targets import find_target
from tests.support.bundles import spec

SIGNATURE = Signature(
    inputs=(spec("ids", DType.INT64, "batch", "seq"), spec("mask", DType.INT64, "batch", "seq_1")), outputs=()
)
TARGET = find_target("torchscript")


def shapes(batch: int, seq: int) -> Shapes:
    return (("ids", (batch, seq)), ("mask", (batch, seq)))


def options(*sizes: tuple[int, int], **more: Any) -> CompileOptions:
    first, *further = [shapes(*each) for each in sizes] or [()]
    return CompileOptions(
        target="torchscript", opt_shapes=first, further_ranges=tuple(ShapeRanges(opt=each) for each in further), **more
    )


def sizes_file(folder: Path, text: str = "size,count\n4,6\n8,2\n32,2\n") -> Path:
    path = folder / "sizes.csv"
    path.write_text(text)
    return path


def test_several_shapes_are_buckets() -> None:
    asked = asked_buckets(options((1, 8), (4, 16)), TARGET, "m", SIGNATURE)
    assert asked is not None
    assert asked.each == ({"batch": 1, "seq": 8, "seq_1": 8}, {"batch": 4, "seq": 16, "seq_1": 16})
    assert asked.choice is None


def test_one_shape_is_none() -> None:
    assert asked_buckets(options((1, 8)), TARGET, "m", SIGNATURE) is None
    assert asked_buckets(options((1, 8), (4, 16)), find_target("onnxruntime"), "m", SIGNATURE) is None


def test_every_bucket_has_the_same_sizes() -> None:
    given = CompileOptions(opt_shapes=shapes(1, 8), further_ranges=(ShapeRanges(opt=(("ids", (1, 4)),)),))
    with pytest.raises(UsageError, match="bucket 2: has no size of seq_1, and another bucket has"):
        asked_buckets(given, TARGET, "m", SIGNATURE)


@pytest.mark.parametrize("bucketed", [("seq", "seq_1"), ("ids:1", "mask:1"), ("seq", "ids:1", "mask:1")])
def test_a_histogram_chooses_them(bucketed: tuple[str, ...], tmp_path: Path) -> None:
    given = options((2, 7), buckets=sizes_file(tmp_path), bucketed=bucketed, most_buckets=2)
    asked = asked_buckets(given, TARGET, "m", SIGNATURE)
    assert asked is not None
    assert [(each["batch"], each["seq"], each["seq_1"]) for each in asked.each] == [(2, 8, 8), (2, 32, 32)]
    assert asked.choice is not None
    assert (asked.choice.symbols, asked.choice.sizes) == (("seq", "seq_1"), (8, 32))
    assert asked.choice.shares == pytest.approx((0.8, 0.2))
    mean, computed = (6 * 4 + 2 * 8 + 2 * 32) / 10, (8 * 8 + 2 * 32) / 10
    assert asked.choice.padding == pytest.approx(1 - mean / computed)
    assert asked.choice.padding_of_one == pytest.approx(1 - mean / 32)


def test_costs_that_were_measured_weigh_them(tmp_path: Path) -> None:
    (tmp_path / "costs.json").write_text('{"1": 5, "8": 5, "32": 6}')
    given = options(
        buckets=sizes_file(tmp_path), bucketed=("seq",), most_buckets=3, bucket_costs=tmp_path / "costs.json"
    )
    asked = asked_buckets(given, TARGET, "m", SIGNATURE)
    assert asked is not None
    assert asked.choice is not None
    assert asked.choice.sizes == (8, 32), "4 costs what 8 does"
    assert asked.choice.cost == pytest.approx(0.8 * 5 + 0.2 * 6)


def test_the_heading_says_what_is_counted(tmp_path: Path) -> None:
    asked = asked_buckets(options(buckets=sizes_file(tmp_path, "batch,count\n3,1\n")), TARGET, "m", SIGNATURE)
    assert asked is not None
    assert asked.each == ({"batch": 3},)


@pytest.mark.parametrize(
    ("text", "bucketed", "message"),
    [
        ("4\n8\n", (), "does not say what its sizes are of"),
        ("size\n4\n", (), "'size' is no size that varies"),
        ("4\n", ("ids:2",), "'ids:2' is no size that varies"),
        ("4\n", ("ids",), "'ids' is no size that varies"),
        ("4\n", ("other:0",), "'other:0' is no size that varies"),
        ("seq\nmany\n", (), "holds no lengths"),
    ],
)
def test_what_the_sizes_are_of_has_to_be_known(
    text: str, bucketed: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    given = options(buckets=sizes_file(tmp_path, text), bucketed=bucketed)
    with pytest.raises(UsageError, match=message):
        asked_buckets(given, TARGET, "m", SIGNATURE)


SIZES, RANGES = Path("sizes.csv"), (ShapeRanges(),)


@pytest.mark.parametrize(
    ("target", "changes", "subjects"),
    [
        ("onnxruntime", {"buckets": SIZES}, ["--buckets"]),
        ("neuronx", {"buckets": SIZES, "further_ranges": RANGES}, ["--buckets"]),
        ("neuronx", {"bucketed": ("seq",), "bucket_costs": SIZES}, ["--bucketed", "--bucket-costs"]),
        (
            "neuronx",
            {"further_ranges": RANGES, "max_shapes": (("ids", (1, 2)),)},
            ["--min-shapes, --max-shapes"],
        ),
        ("neuronx", {"buckets": SIZES, "bucketed": ("seq",), "bucket_costs": SIZES}, []),
        ("tensorrt", {"further_ranges": RANGES, "max_shapes": (("ids", (1, 2)),)}, []),
    ],
)
def test_options_that_contradict_each_other_are_told_at_once(
    target: str, changes: dict[str, Any], subjects: list[str]
) -> None:
    problems = bucket_problems(CompileOptions(target=target, **changes), find_target(target))
    assert [problem.subject for problem in problems] == subjects
