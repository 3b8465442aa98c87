from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from artifacts.bundle import Bundle
from artifacts.errors import BundleError, TargetError, UsageError
from artifacts.plan_build import BuilderOptions
from artifacts.tensorrt_plan import read_header
from compiler.compile import compile_bundle
from compiler.emit import Anew, emit_bundle
from compiler.options import CompileOptions, ModelFile
from tests.support.cli import unspool
from tests.support.models import BundleCache

pytest.importorskip("tensorrt_rtx")


def compiled(target: str, model: Path, destination: Path, builder: BuilderOptions | None = None) -> None:
    options = CompileOptions(
        target=target,
        opt_shapes=(("x", (4, 16)),),
        max_shapes=(("x", (8, 16)),),
        compute_capabilities=("sm89",),
        builder=builder or BuilderOptions(),
    )
    compile_bundle([ModelFile("perceptron", model)], destination, options)


@pytest.fixture(scope="module")
def sources(cache: BundleCache, perceptron_file: Path) -> Path:
    return cache.get("perceptron-emitted", lambda path: compiled("tensorrt", perceptron_file, path))


def test_a_plan_of_a_bundles_source_is_the_one_that_a_compilation_makes(
    sources: Path, perceptron_file: Path, tmp_path: Path
) -> None:
    """TensorRT leaves sources where there is no GPU; TensorRT-RTX builds the same ones."""
    compiled("tensorrt-rtx", perceptron_file, tmp_path / "compiled")
    emit_bundle(sources, "tensorrt-rtx", tmp_path / "emitted")
    one, other = (Bundle.open(tmp_path / name).manifest for name in ("compiled", "emitted"))
    assert one.to_bytes() == other.to_bytes()
    assert other.engines["perceptron"].status == "built"


def test_it_builds_for_other_gpus_than_the_bundle_is_for(sources: Path, tmp_path: Path) -> None:
    emitted = emit_bundle(sources, "tensorrt-rtx", tmp_path / "b", anew=Anew(capabilities=("sm86", "sm120")))
    engine = emitted.bundle.manifest.engines["perceptron"]
    assert engine.runs_on == ("nvidia:sm86", "nvidia:sm120")
    assert engine.plan is not None
    assert read_header(emitted.bundle.path_of(engine.plan).read_bytes(), "p").capabilities == ("sm86", "sm120")


def test_the_same_again_does_nothing_and_another_is_not_overwritten(sources: Path, tmp_path: Path) -> None:
    assert not emit_bundle(sources, "tensorrt-rtx", tmp_path / "b").up_to_date
    assert emit_bundle(sources, "tensorrt-rtx", tmp_path / "b").up_to_date
    with pytest.raises(BundleError, match="other inputs or options"):
        emit_bundle(sources, "tensorrt-rtx", tmp_path / "b", anew=Anew(capabilities=("sm86",)))
    assert not emit_bundle(
        sources, "tensorrt-rtx", tmp_path / "b", anew=Anew(capabilities=("sm86",)), force=True
    ).up_to_date


def test_plans_go_where_sources_stay(sources: Path, tmp_path: Path) -> None:
    """A bundle with plans becomes one without: nothing of the builder before is left."""
    emit_bundle(sources, "tensorrt-rtx", tmp_path / "plans")
    back = emit_bundle(tmp_path / "plans", "tensorrt", tmp_path / "back").bundle
    assert set(back.manifest.files) == set(Bundle.open(sources).manifest.files)
    assert back.manifest.engines == Bundle.open(sources).manifest.engines


def test_the_report_goes_on(sources: Path, tmp_path: Path) -> None:
    before, after = Bundle.open(sources).report(), emit_bundle(sources, "tensorrt-rtx", tmp_path / "b").bundle.report()
    assert before is not None
    assert after is not None
    assert after.numerics == before.numerics
    assert [stage.name for stage in after.stages[len(before.stages) :]] == ["read", "emit"]
    assert after.engines[0].plan_bytes == (tmp_path / "b" / "engines" / "perceptron.plan").stat().st_size


def test_shards_come_from_a_store(sources: Path, tmp_path: Path) -> None:
    bundle = emit_bundle(sources, "tensorrt-rtx", tmp_path / "b", store=str(tmp_path / "store")).bundle
    (shard,) = bundle.manifest.weights.shards
    assert bundle.path_of(shard.path).stat().st_nlink > 1


def test_what_cannot_be_built_is_told_at_once(
    sources: Path, perceptron_bundle: Path, perceptron_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="is of the kind onnxruntime, whose source is for no builder"):
        emit_bundle(perceptron_bundle, "tensorrt-rtx", tmp_path / "b")
    with pytest.raises(UsageError, match="makes no plans") as caught:
        emit_bundle(sources, "onnxruntime", tmp_path / "b")
    assert "tensorrt, tensorrt-rtx" in caught.value.problems[0].hint
    with pytest.raises(TargetError, match="is emitted, and built is required"):
        emit_bundle(sources, "tensorrt", tmp_path / "b", require="built")
    options = BuilderOptions(optimization_level=5, version_compatible=True)
    compiled("tensorrt", perceptron_file, tmp_path / "level", options)
    with pytest.raises(UsageError) as caught:
        emit_bundle(tmp_path / "level", "tensorrt-rtx", tmp_path / "b", anew=Anew(capabilities=("sm90",)))
    subjects = [problem.subject for problem in caught.value.problems]
    assert subjects == ["--compute-capabilities", "--optimization-level", "--version-compatible"]
    assert not (tmp_path / "b").exists()


def test_the_command_says_what_became_of_each_engine(
    sources: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ("emit", "--from", sources, "--target", "tensorrt-rtx", "-o", tmp_path / "b")
    found = unspool(capsys, *call, "--json")
    assert found.document["result"] == "emitted"
    assert found.document["engines"]["perceptron"]["status"] == "built"
    assert unspool(capsys, *call).stdout == f"{tmp_path / 'b'}: up to date\n"


def test_neither_torch_nor_the_model_is_needed(sources: Path, tmp_path: Path) -> None:
    call = ["emit", "--from", str(sources), "--target", "tensorrt-rtx", "-o", str(tmp_path / "b")]
    code = (
        "import sys\n"
        "for name in ('torch', 'onnxscript', 'onnx_ir', 'onnxruntime'): sys.modules[name] = None\n"
        "from compiler.cli.main import main\n"
        f"sys.exit(main({call!r}))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert Bundle.open(tmp_path / "b").manifest.engines["perceptron"].status == "built"
