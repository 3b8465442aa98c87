from __future__ import annotations

from pathlib import Path

import pytest

from artifacts.bundle import Bundle
from artifacts.errors import MissingToolError, TargetError, UnspoolError, UsageError
from artifacts.tensorrt_plan import read_header
from compiler.compile import compile_bundle
from compiler.generation import TokenFlags
from compiler.options import CompileOptions, ModelFile, Precision, ScheduleName
from tests.support.cli import unspool
from tests.support.light_networks import light_network
from tests.support.models import DATA, OCR, BundleCache
from tests.support.ppocr import PPOCR

pytest.importorskip("tensorrt_rtx")

SIZES = {
    "min_shapes": (("input_ids", (1, 4)),),
    "opt_shapes": (("input_ids", (4, 32)),),
    "max_shapes": (("input_ids", (8, 128)),),
}
BERT = ModelFile("bert", DATA / "bert_tiny" / "model_dynamo.onnx")


def options(**changes: object) -> CompileOptions:
    return CompileOptions(target="tensorrt-rtx", compute_capabilities=("sm89",), **{**SIZES, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def bert(cache: BundleCache) -> Path:
    return cache.get("bert-rtx", lambda path: compile_bundle([BERT], path, options()))


def test_a_plan_is_built_and_its_graph_agrees_with_the_source(bert: Path) -> None:
    manifest = Bundle.open(bert).manifest
    (engine,) = manifest.engines.values()
    assert (engine.status, engine.runs_on, engine.weights.default) == ("built", ("nvidia:sm89",), "embedded")
    assert engine.needs[0].what.startswith("an NVIDIA GPU of compute capability 8.9")
    assert engine.plan is not None
    header = read_header((bert / engine.plan).read_bytes(), engine.plan)
    assert header.capabilities == ("sm89",)
    weights = sum(shard.bytes for shard in manifest.weights.shards)
    assert header.bytes > weights  # it holds them
    (verdicts,) = manifest.numerics.verdicts.values()
    assert [verdict.compared for verdict in verdicts] == ["conversion", "passes", "engine sources"]
    report = Bundle.open(bert).report()
    assert report is not None
    assert {each.after for each in report.numerics} >= {"convert", "engine"}


def test_the_graph_has_operators_of_onnx_alone(bert: Path) -> None:
    import onnx

    (engine,) = Bundle.open(bert).manifest.engines.values()
    graph = onnx.load(bert / engine.source, load_external_data=False).graph
    assert {node.domain for node in graph.node} <= {"", "ai.onnx"}


def test_a_bundle_is_the_same_every_time(bert: Path, tmp_path: Path) -> None:
    compile_bundle([BERT], tmp_path / "again", options())
    assert (tmp_path / "again" / "manifest.json").read_bytes() == (bert / "manifest.json").read_bytes()


def test_check_says_where_it_loads(bert: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert unspool(capsys, "check", bert, "--on", "nvidia:sm89").status == 0
    assert unspool(capsys, "check", bert, "--on", "nvidia:sm86").status != 0


def test_running_it_is_refused_with_what_it_is(bert: Path) -> None:
    from artifacts.runtime import Session

    with pytest.raises((UnspoolError, MissingToolError), match="tensorrt-rtx"):
        Session.open(bert)


def test_verified_is_not_to_be_had(tmp_path: Path) -> None:
    with pytest.raises(TargetError) as caught:
        compile_bundle([BERT], tmp_path / "out", options(require="verified"))
    assert "is built, and verified is required" in caught.value.problems[0].message
    assert not (tmp_path / "out").exists()


def test_sizes_that_no_flag_gives_are_named(tmp_path: Path) -> None:
    none: dict[str, object] = dict.fromkeys(SIZES, ())
    with pytest.raises(TargetError) as caught:
        compile_bundle([BERT], tmp_path / "out", options(**none))
    assert [problem.message.split(" of input")[0] for problem in caught.value.problems] == [
        "has no sizes for batch",
        "has no sizes for seq",
    ]


def test_other_targets_build_for_no_gpu(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="builds for no GPU"):
        compile_bundle([BERT], tmp_path / "out", CompileOptions(compute_capabilities=("sm89",)))


@pytest.mark.slow  # a minute each: the OCR model is converted, and the builder looks for kernels
@pytest.mark.parametrize(
    ("schedule", "precision", "engines"),
    [
        (ScheduleName.LOOP, Precision.FP32, 2),
        (ScheduleName.LOOP, Precision.FP16, 2),
        (ScheduleName.PARTITIONED, Precision.FP32, 2),
    ],
)
def test_a_decode_is_built(schedule: ScheduleName, precision: Precision, engines: int, tmp_path: Path) -> None:
    """Tokens are compared with the source's by the graphs that the plans are made from."""
    shapes = {name: (("image", (batch, 1, 16, 320)),) for name, batch in zip(SIZES, (1, 4, 8), strict=True)}
    changes = {**shapes, "schedule": schedule, "precision": precision, "tokens": TokenFlags(max_new_tokens=75)}
    if schedule is ScheduleName.PARTITIONED:
        changes["partitions"] = (25, 50, 75)
    compile_bundle([ModelFile("ocr", OCR / "model.onnx")], tmp_path / "out", options(**changes))
    manifest = Bundle.open(tmp_path / "out").manifest
    assert {engine.status for engine in manifest.engines.values()} == {"built"}
    assert len(manifest.engines) == engines


def sizes(name: str, *shapes: tuple[int, ...]) -> dict[str, object]:
    return {flag: ((name, shape),) for flag, shape in zip(SIZES, shapes, strict=True)}


@pytest.mark.slow  # up to a minute and a half each: real networks are converted, verified and built
@pytest.mark.parametrize(
    ("file", "changes"),
    [
        (light_network("resnet50"), dict.fromkeys(SIZES, ())),
        (PPOCR / "ch_PP-OCRv4_rec_infer.onnx", sizes("x", (1, 3, 48, 64), (4, 3, 48, 320), (8, 3, 48, 1280))),
        (DATA / "t5_tiny" / "model_dynamo.onnx", sizes("input_ids", (1, 2), (4, 32), (8, 128))),
    ],
    ids=["light_resnet50", "PP-OCRv4 rec", "t5_tiny"],
)
def test_a_real_network_is_built(file: Path, changes: dict[str, object], tmp_path: Path) -> None:
    compile_bundle([ModelFile("m", file)], tmp_path / "out", options(**changes))
    manifest = Bundle.open(tmp_path / "out").manifest
    for engine in manifest.engines.values():
        assert engine.status == "built"
        assert engine.plan is not None
        data = (tmp_path / "out" / engine.plan).read_bytes()
        assert read_header(data, engine.plan).bytes == len(data)
