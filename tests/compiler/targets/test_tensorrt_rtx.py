from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from artifacts.bundle import Bundle
from artifacts.errors import MissingToolError, TargetError, UsageError
from artifacts.plan_build import PlanBuild
from artifacts.tensorrt_plan import read_header
from compiler.build_log import BuildLog
from compiler.cli.main import main
from compiler.compile import compile_bundle
from compiler.generation import TokenFlags
from compiler.options import CacheMode, CompileOptions, ModelFile, Precision, ScheduleName
from tests.support.cli import child_environment, unspool
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


def test_what_the_plan_holds_is_reported(bert: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = Bundle.open(bert).report()
    assert report is not None
    (engine,) = report.engines
    assert engine.plan is not None
    kernels, weights = engine.plan.kernels, engine.plan.weights
    assert 0 < kernels.distinct_bytes <= kernels.bytes < engine.plan.bytes == engine.plan_bytes
    assert weights.other_bytes < weights.bytes / 10
    assert not weights.repeated
    found = unspool(capsys, "inspect", bert)
    assert f"{kernels.texts}, {kernels.distinct} distinct" in found.stdout
    (notice,) = report.notices
    assert f"source texts of {kernels.texts} kernels" in notice


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


def test_running_it_takes_a_gpu(bert: Path) -> None:
    from artifacts.runtime import Session

    with pytest.raises(MissingToolError, match="there is no NVIDIA driver on this machine"):
        Session.open(bert)


def test_its_sources_are_verified_where_it_cannot_run(bert: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = unspool(capsys, "verify", bert, "--json")
    assert found.status == 0
    assert found.document["sources"] == list(Bundle.open(bert).manifest.engines)
    assert all(check["passed"] for check in found.document["checks"])
    assert "its source was asked, not its plan" in unspool(capsys, "verify", bert).stderr
    assert unspool(capsys, "verify", bert, "--against", BERT.path).status == 0


def test_several_ranges_of_sizes_are_several_profiles(perceptron_file: Path, tmp_path: Path) -> None:
    several = [f"--{name}-shapes=x:{size}x16" for name, size in (("min", 1), ("max", 8), ("min", 9), ("max", 64))]
    call = ["compile", str(perceptron_file), "--target", "tensorrt-rtx", *several, "-o", str(tmp_path / "b")]
    assert main(call) == 0
    (engine,) = Bundle.open(tmp_path / "b").manifest.engines.values()
    assert isinstance(engine.build, PlanBuild)
    assert [(profile["x"].least[0], profile["x"].most[0]) for profile in engine.build.profiles] == [(1, 8), (9, 64)]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("targets",), 0, "unspool[tensorrt-rtx]"),
        (("inspect", "BUNDLE"), 0, "TensorRT-RTX 1."),
        (("check", "BUNDLE", "--on", "nvidia:sm89"), 0, "loads"),
        (("verify", "BUNDLE"), 0, "its source was asked"),
        (("run", "BUNDLE", "--inputs", "INPUTS"), 1, "pip install tensorrt-rtx"),
        (("emit", "--from", "BUNDLE", "--target", "tensorrt-rtx", "-o", "OUT"), 1, "unspool[tensorrt-rtx]"),
        (("compile", "MODEL", "--target", "tensorrt-rtx", "-o", "OUT"), 1, "unspool[tensorrt-rtx]"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_without_the_package_every_command_works_or_says_how_to_get_it(
    bert: Path, tmp_path: Path, arguments: tuple[str, ...], status: int, said: str
) -> None:
    code = """
import sys
from importlib import metadata
sys.modules["tensorrt_rtx"] = None
found = metadata.version
def version(name):
    if name == "tensorrt-rtx":
        raise metadata.PackageNotFoundError(name)
    return found(name)
metadata.version = version
from compiler.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
    inputs = Bundle.open(bert).manifest.models["bert"].samples[0].inputs
    names = {"BUNDLE": str(bert), "INPUTS": str(bert / inputs), "OUT": str(tmp_path / "out"), "MODEL": str(BERT.path)}
    command = [sys.executable, "-c", code, *(names.get(word, word) for word in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=child_environment())
    assert (done.returncode, said in done.stdout + done.stderr) == (status, True), done.stdout + done.stderr
    assert not (tmp_path / "out").exists()


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


@pytest.mark.parametrize("target", ["onnxruntime", "tensorrt", "tensorrt-rtx"])
def test_sizes_that_do_not_grow_are_told_before_anything_is_converted(target: str, tmp_path: Path) -> None:
    sizes = {**SIZES, "min_shapes": (("input_ids", (9, 4)),), "max_shapes": (("input_ids", (8, 16)),)}
    log = BuildLog(quiet=True)
    with pytest.raises(UsageError) as caught:
        compile_bundle([BERT], tmp_path / "out", CompileOptions(target=target, **sizes), log=log)  # type: ignore[arg-type]
    assert [problem.message for problem in caught.value.problems] == [
        "batch is at least 9, usually 4 and at most 8",
        "seq is at least 4, usually 32 and at most 16",
    ]
    assert {stage.name for stage in log.times} <= {"read", "start"}


def test_other_targets_build_for_no_gpu(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="builds for no GPU"):
        compile_bundle([BERT], tmp_path / "out", CompileOptions(compute_capabilities=("sm89",)))


@pytest.mark.slow  # a minute each, and four for 75 positions: the builder writes kernels for every one
@pytest.mark.parametrize(
    ("changes", "engines"),
    [
        ({"schedule": ScheduleName.LOOP}, ["step"]),
        ({"schedule": ScheduleName.LOOP, "precision": Precision.FP16}, ["step"]),
        ({"schedule": ScheduleName.LOOP, "cache": CacheMode.OFF}, ["step"]),
        ({"schedule": ScheduleName.PARTITIONED, "partitions": (25, 50, 75)}, ["until-25"]),
        ({"schedule": ScheduleName.UNROLLED}, ["decode"]),
        ({"schedule": ScheduleName.ENGINE_LOOP, "cache": CacheMode.PADDED}, ["decode"]),
    ],
    ids=["loop", "loop fp16", "loop without a cache", "partitioned", "unrolled", "engine-loop padded"],
)
def test_a_decode_is_built(changes: dict[str, object], engines: list[str], tmp_path: Path) -> None:
    """Tokens are compared with the source's by the graphs that the plans are made from."""
    shapes = {name: (("image", (batch, 1, 16, 320)),) for name, batch in zip(SIZES, (1, 4, 8), strict=True)}
    made = options(**shapes, **changes, tokens=TokenFlags(max_new_tokens=75))
    compile_bundle([ModelFile("ocr", OCR / "model.onnx")], tmp_path / "out", made)
    bundle = Bundle.open(tmp_path / "out")
    manifest, report = bundle.manifest, bundle.report()
    assert {engine.status for engine in manifest.engines.values()} == {"built"}
    apart = [] if engines == ["decode"] else ["encoder"]
    assert sorted(manifest.engines) == [f"ocr.{name}" for name in sorted([*apart, *engines])]
    assert report is not None
    for engine in report.engines:
        assert engine.plan is not None
        # Each weight is there, and once, however many positions have it. Places that are known are folded.
        weights = engine.plan.weights
        assert not weights.repeated
        assert weights.other_bytes < 0.02 * weights.bytes


def sizes(name: str, *shapes: tuple[int, ...]) -> dict[str, object]:
    return {flag: ((name, shape),) for flag, shape in zip(SIZES, shapes, strict=True)}


@pytest.mark.slow  # up to a minute and a half each: real networks are converted, verified and built
@pytest.mark.parametrize(
    ("file", "changes"),
    [
        (light_network("resnet50"), dict.fromkeys(SIZES, ())),
        (PPOCR / "ch_PP-OCRv4_rec_infer.onnx", sizes("x", (1, 3, 48, 64), (4, 3, 48, 320), (8, 3, 48, 1280))),
        (DATA / "t5_tiny" / "model_dynamo.onnx", sizes("input_ids", (1, 2), (4, 32), (8, 128))),
        (
            DATA / "t5_tiny" / "model_dynamo.onnx",
            sizes("input_ids", (1, 2), (4, 32), (8, 128))
            | {"schedule": ScheduleName.ENGINE_LOOP, "cache": CacheMode.PADDED},
        ),
    ],
    ids=["light_resnet50", "PP-OCRv4 rec", "t5_tiny", "t5_tiny in a loop of its own"],
)
def test_a_real_network_is_built(file: Path, changes: dict[str, object], tmp_path: Path) -> None:
    compile_bundle([ModelFile("m", file)], tmp_path / "out", options(**changes))
    manifest = Bundle.open(tmp_path / "out").manifest
    for engine in manifest.engines.values():
        assert engine.status == "built"
        assert engine.plan is not None
        data = (tmp_path / "out" / engine.plan).read_bytes()
        assert read_header(data, engine.plan).bytes == len(data)
