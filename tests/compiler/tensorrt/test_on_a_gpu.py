"""Everything up to NVIDIA's libraries, whose places stand-ins take: see tests/support/gpu_machine.py."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from artifacts.bundle import Bundle
from artifacts.engines import EngineRunner, open_engine, runs_here
from artifacts.errors import BundleError, MissingToolError, RunError
from artifacts.host_cache import cache_root
from artifacts.manifest import EngineEntry
from artifacts.plan_build import BuilderOptions
from artifacts.runtime import Session
from artifacts.spec import Signature
from compiler.compile import compile_bundle
from compiler.emit import emit_bundle
from compiler.generation import TokenFlags
from compiler.options import CompileOptions, ModelFile, ScheduleName
from compiler.shapes import ShapeRanges
from tests.support.gpu_machine import STAND_IN, Cuda, gpu_machine, tensorrt_module
from tests.support.models import normal, saved, source_outputs, toy_decoder, toy_decoding

OPTIONS = CompileOptions(
    target="tensorrt",
    min_shapes=(("x", (1, 16)),),
    max_shapes=(("x", (8, 16)),),
    further_ranges=(ShapeRanges(min=(("x", (64, 16)),), max=(("x", (128, 16)),)),),
)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory, perceptron_file: Path) -> Path:
    path = tmp_path_factory.mktemp("sources") / "bundle"
    return compile_bundle([ModelFile("perceptron", perceptron_file)], path, OPTIONS).bundle.root


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cuda]:
    with gpu_machine(monkeypatch) as library:
        yield library


@pytest.fixture
def runner(gpu: Cuda, sources: Path, tmp_path: Path) -> EngineRunner:  # the machine
    bundle = emit_bundle(sources, "tensorrt", tmp_path / "b").bundle
    return open_engine(bundle.root, bundle.manifest.engines["perceptron"])


def test_a_plan_that_runs_is_verified(
    gpu: Cuda,  # the machine
    sources: Path,
    tmp_path: Path,
) -> None:
    assert runs_here("tensorrt")
    manifest = emit_bundle(sources, "tensorrt", tmp_path / "b").bundle.manifest
    (engine,) = manifest.engines.values()
    assert (engine.status, engine.needs, engine.runs_on) == ("verified", (), ("nvidia:sm89",))
    assert "engines/perceptron.layers.json" in manifest.files
    assert manifest.tools["tensorrt"] == "0.0.stand-in"
    assert manifest.numerics.verdicts["perceptron"][-1].compared == "engines"
    report = Bundle.open(tmp_path / "b").report()
    assert report is not None
    assert report.weight_costs[0].way == "embedded"
    assert report.notices[-1].startswith("perceptron: answers its 3 samples in ")


@pytest.mark.usefixtures("gpu")
def test_what_kernels_take_is_kept_on_the_host(gpu: Cuda, sources: Path, tmp_path: Path) -> None:
    file = cache_root() / "tensorrt-timing" / "0.0.stand-in-sm89.cache"
    for times in (b"none and a build's", b"none and a build's and a build's"):
        emit_bundle(sources, "tensorrt", tmp_path / "b", force=True)
        assert file.read_bytes() == times
    file.write_bytes(b"damaged")
    emit_bundle(sources, "tensorrt", tmp_path / "b", force=True)
    assert file.read_bytes() == b"none and a build's"
    file.parent.chmod(0o777)
    with pytest.raises(RunError, match="can be written by other users"):
        emit_bundle(sources, "tensorrt", tmp_path / "b", force=True)


@pytest.mark.usefixtures("gpu")
def test_a_compilation_on_such_a_machine_is_verified_too(perceptron_file: Path, tmp_path: Path) -> None:
    compiled = compile_bundle([ModelFile("perceptron", perceptron_file)], tmp_path / "b", OPTIONS)
    (engine,) = compiled.bundle.manifest.engines.values()
    assert (engine.status, engine.needs) == ("verified", ())


def test_it_answers_as_the_source(runner: EngineRunner, perceptron_file: Path) -> None:
    for batch in (1, 8, 64):
        x = normal(batch, 16, seed=batch)
        np.testing.assert_allclose(
            runner.call({"x": x})["y"], source_outputs(perceptron_file, {"x": x})["y"], rtol=1e-4, atol=1e-5
        )


def test_sizes_that_it_was_not_built_for_are_told_with_those_it_was(runner: EngineRunner) -> None:
    with pytest.raises(RunError, match=r"not built for x \(32, 16\); it takes x from \(1, 16\) to \(8, 16\); x from"):
        runner.call({"x": normal(32, 16, seed=0)})


def test_bound_buffers_are_read_and_written_again(runner: EngineRunner) -> None:
    spec, result = runner.signature.inputs[0], runner.signature.outputs[0]
    given, made = runner.upload(spec, normal(4, 16, seed=1)), runner.alloc(result, (4, 8))
    call = runner.bind({"x": given}, {"y": made})
    assert not runner.download(made).any()
    call()
    np.testing.assert_array_equal(runner.download(made), runner.call({"x": normal(4, 16, seed=1)})["y"])
    with pytest.raises(RunError, match=r"has the shape \(5, 8\), and \(4, 8\) is needed"):
        runner.bind({"x": given}, {"y": runner.alloc(result, (5, 8))})


def test_wrong_calls_are_errors_of_the_call(runner: EngineRunner) -> None:
    with pytest.raises(RunError, match="has no input x"):
        runner.call({})
    runner.call({"x": normal(1, 16, seed=0)})
    runner.close()
    with pytest.raises(RunError, match="closed"):
        runner.call({"x": normal(1, 16, seed=0)})


def test_an_output_whose_shape_is_seen_late_is_as_large_as_it_became(
    monkeypatch: pytest.MonkeyPatch, sources: Path, perceptron_file: Path, tmp_path: Path
) -> None:
    with gpu_machine(monkeypatch, tensorrt_module(seen_late=frozenset({"y"}))):
        bundle = emit_bundle(sources, "tensorrt", tmp_path / "b").bundle
        with Session.open(bundle.root) as session:
            x = normal(3, 16, seed=3)
            expected = source_outputs(perceptron_file, {"x": x})["y"]
            np.testing.assert_allclose(session.run({"x": x})["y"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("weights", ["refit", "stripped"])
def test_weights_come_from_the_shards_and_none_may_be_left_out(
    monkeypatch: pytest.MonkeyPatch, perceptron_file: Path, tmp_path: Path, weights: str
) -> None:
    options = CompileOptions(
        target="tensorrt",
        max_shapes=(("x", (8, 16)),),
        builder=BuilderOptions.model_validate({"weights": weights}),
    )
    with gpu_machine(monkeypatch):
        compiled = compile_bundle([ModelFile("perceptron", perceptron_file)], tmp_path / "b", options)
        assert compiled.bundle.manifest.engines["perceptron"].status == "verified"
    with gpu_machine(monkeypatch, tensorrt_module(hidden=frozenset({"second"}))):
        with pytest.raises(BundleError, match="has no place for the weights second, and may compute without") as caught:
            Session.open(tmp_path / "b")
        assert "--weights embedded" in caught.value.problems[0].hint


@pytest.mark.parametrize("schedule", [ScheduleName.LOOP, ScheduleName.PARTITIONED, ScheduleName.UNROLLED])
def test_a_decode_runs_on_buffers_of_the_gpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, schedule: ScheduleName
) -> None:
    options = CompileOptions(
        target="tensorrt",
        schedule=schedule,
        partitions=(3, 6) if schedule is ScheduleName.PARTITIONED else (),
        tokens=TokenFlags(start=0, eos=(2,), pad=0, max_new_tokens=6),
        min_shapes=(("x", (1, 4)),),
        max_shapes=(("x", (8, 4)),),
    )
    model, x = ModelFile("toy", saved(toy_decoder(), tmp_path / "toy.onnx")), normal(5, 4, seed=0)
    with gpu_machine(monkeypatch) as library:
        compiled = compile_bundle([model], tmp_path / "b", options)
        assert {engine.status for engine in compiled.bundle.manifest.engines.values()} == {"verified"}
        with Session.open(tmp_path / "b") as session:
            answer = session.run({"x": x})
        lengths = answer["lengths"]
        found = [row[:count].tolist() for row, count in zip(answer["tokens"], lengths, strict=True)]
        assert found == toy_decoding(x, 0, (2,), 6)
        del session, answer
        gc.collect()
        assert not library.held, "nothing stays on the GPU"


def test_what_cannot_be_opened_is_one_error(monkeypatch: pytest.MonkeyPatch, sources: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="has no plan yet") as caught:
        Session.open(sources)
    assert "unspool emit" in caught.value.problems[0].hint
    with gpu_machine(monkeypatch):
        bundle = emit_bundle(sources, "tensorrt", tmp_path / "b").bundle
        entry = bundle.manifest.engines["perceptron"]
        (bundle.root / str(entry.plan)).write_bytes(b"another version")
        with pytest.raises(BundleError, match="cannot be opened: no plan of this version"):
            open_engine(bundle.root, entry)
        other = Signature(inputs=entry.signature.inputs, outputs=entry.signature.inputs)
        (bundle.root / str(entry.plan)).write_bytes(STAND_IN + _onnx(bundle))
        with pytest.raises(BundleError, match=r"has the outputs \['y'\], the manifest says \['x'\]"):
            open_engine(bundle.root, entry.model_copy(update={"signature": other}))
    with pytest.raises(MissingToolError):
        open_engine(bundle.root, entry)


def _onnx(bundle: Bundle) -> bytes:
    from onnx import load_model

    engine: EngineEntry = bundle.manifest.engines["perceptron"]
    model = load_model(bundle.root / engine.source, load_external_data=False)
    from onnx.external_data_helper import load_external_data_for_model

    load_external_data_for_model(model, str(bundle.root))
    data: bytes = model.SerializeToString()
    return data
