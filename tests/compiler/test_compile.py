from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from artifacts.bundle import Bundle
from artifacts.errors import BundleError, NumericsError, SourceError, UnsupportedError, UsageError
from artifacts.runtime import Session
from artifacts.samples import stored_samples
from artifacts.schedule import Decode
from compiler import frontend
from compiler.compile import Compiled, compile_bundle
from compiler.generation import TokenFlags
from compiler.options import CompileOptions, Existing, ModelFile, Precision, ScheduleName
from compiler.skipped_passes import LAST_PASSES, optional_passes
from compiler.targets import find_target
from tests.support.models import (
    floats,
    graph_model,
    normal,
    perceptron,
    saved,
    source_outputs,
    toy_decoding,
)
from tests.support.programs import parsed

DEFAULTS = CompileOptions()


def compiled(model: Path, destination: Path, options: CompileOptions = DEFAULTS, *, force: bool = False) -> Compiled:
    existing = Existing.REMAKE if force else Existing.KEEP
    return compile_bundle([ModelFile("perceptron", model)], destination, options, existing=existing)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_bundle_answers_as_the_source(perceptron_bundle: Path, perceptron_file: Path) -> None:
    with Session.open(perceptron_bundle) as session:
        for batch in (1, 2, 7):
            x = normal(batch, 16, seed=batch)
            np.testing.assert_allclose(
                session.run({"x": x})["y"], source_outputs(perceptron_file, {"x": x})["y"], rtol=1e-4, atol=1e-5
            )


def test_the_manifest_tells_what_was_done(perceptron_bundle: Path, perceptron_file: Path) -> None:
    manifest = Bundle.open(perceptron_bundle).manifest
    model, engine = manifest.models["perceptron"], manifest.engines["perceptron"]
    assert str(model.signature) == "(x: float32[batch, 16]) -> (y: float32[batch, 8])"
    assert (engine.kind, engine.target, engine.status) == ("onnxruntime", "onnxruntime", "verified")
    assert set(engine.bindings) == {"first", "second"}, "the bias is small and lies inside"
    target = find_target("onnxruntime")
    expected = [
        *(step.name for step in frontend.CLEANUP),
        *target.fusions,
        "deduplicate-weights",
        *LAST_PASSES,
        *target.late_fusions,
    ]
    assert [step.name for step in manifest.passes] == expected
    assert manifest.tools == dict(find_target("onnxruntime").tools())
    assert all(verdict.passed for verdict in manifest.numerics.verdicts["perceptron"])
    assert manifest.numerics.tolerances


def test_the_report_tells_how_it_went(perceptron_bundle: Path) -> None:
    report = Bundle.open(perceptron_bundle).report()
    assert report is not None
    assert len(report.key) == 64
    assert {"read", "sample", "convert", "passes", "weights", "emit", "verify"} <= {
        stage.name for stage in report.stages
    }
    assert {n.after for n in report.numerics} >= {"convert", "engine"}
    assert all(n.passed for n in report.numerics)
    assert report.weights is not None
    assert report.weights.unique_bytes == report.weights.source_bytes == 4 * (16 * 32 + 32 + 32 * 8)


def test_the_samples_inside_are_what_the_source_answered(perceptron_bundle: Path, perceptron_file: Path) -> None:
    samples = stored_samples(Bundle.open(perceptron_bundle), "perceptron")
    assert [sample.inputs["x"].shape[0] for sample in samples] == [2, 3, 1]
    for sample in samples:
        np.testing.assert_array_equal(sample.outputs["y"], source_outputs(perceptron_file, sample.inputs)["y"])


def test_the_same_inputs_are_up_to_date(perceptron_copy: Path, perceptron_file: Path, tmp_path: Path) -> None:
    before = contents(perceptron_copy)
    moved = shutil.copy(perceptron_file, tmp_path / "renamed.onnx")
    found = compiled(Path(moved), perceptron_copy)
    assert found.up_to_date
    assert contents(perceptron_copy) == before


@pytest.mark.parametrize(
    "options",
    [CompileOptions(atol=1e-3), CompileOptions(schedule=ScheduleName.SINGLE), CompileOptions(require="verified")],
)
def test_other_options_are_refused(perceptron_copy: Path, perceptron_file: Path, options: CompileOptions) -> None:
    before = contents(perceptron_copy)
    with pytest.raises(BundleError) as caught:
        compiled(perceptron_file, perceptron_copy, options)
    assert "--force" in caught.value.problems[0].hint
    assert contents(perceptron_copy) == before


def test_another_model_is_refused(perceptron_copy: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="other inputs or options"):
        compiled(saved(perceptron(9), tmp_path / "other.onnx"), perceptron_copy)


def test_a_bundle_without_its_report_is_not_up_to_date(perceptron_copy: Path, perceptron_file: Path) -> None:
    (perceptron_copy / "build.json").unlink()
    with pytest.raises(BundleError, match="--force"):
        compiled(perceptron_file, perceptron_copy)


def test_a_damaged_bundle_is_not_up_to_date(perceptron_copy: Path, perceptron_file: Path) -> None:
    engine = perceptron_copy / "engines" / "perceptron.onnx"
    engine.write_bytes(engine.read_bytes()[:-1] + b"\0")
    with pytest.raises(BundleError, match="was changed"):
        compiled(perceptron_file, perceptron_copy)


def test_force_replaces_the_whole_bundle(perceptron_copy: Path, tmp_path: Path) -> None:
    other = saved(perceptron(9), tmp_path / "other.onnx")
    found = compiled(other, perceptron_copy, force=True)
    assert not found.up_to_date
    x = normal(2, 16)
    with Session.open(perceptron_copy) as session:
        np.testing.assert_allclose(session.run({"x": x})["y"], source_outputs(other, {"x": x})["y"], rtol=1e-4)
    assert {path.name for path in tmp_path.iterdir()} == {"copy", "other.onnx"}


def _file(path: Path) -> None:
    path.write_text("mine")


def _folder(path: Path) -> None:
    path.mkdir()
    (path / "mine").write_text("mine")


def _link(path: Path) -> None:
    _folder(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("occupy", [_file, _folder, _link])
def test_what_is_not_a_bundle_is_never_touched(
    perceptron_file: Path, tmp_path: Path, occupy: Callable[[Path], None], force: bool
) -> None:
    occupy(tmp_path / "out")
    before = contents(tmp_path)
    with pytest.raises(BundleError):
        compiled(perceptron_file, tmp_path / "out", force=force)
    assert contents(tmp_path) == before


def _gaps(folder: Path) -> tuple[Path, CompileOptions]:
    model = graph_model([helper.make_node("Nothing", ["x"], ["y"], domain="a")], [floats("x", 2)], [floats("y", 2)])
    model.opset_import.append(helper.make_opsetid("a", 1))
    return saved(model, folder / "model.onnx"), DEFAULTS


def _numerics(folder: Path) -> tuple[Path, CompileOptions]:
    return saved(perceptron(), folder / "model.onnx"), CompileOptions(atol=0.0, rtol=0.0)


def _size_one(folder: Path) -> tuple[Path, CompileOptions]:
    np.savez(folder / "in.npz", x=normal(1, 16))
    return saved(perceptron(), folder / "model.onnx"), CompileOptions(samples=folder / "in.npz")


def _misfit(folder: Path) -> tuple[Path, CompileOptions]:
    return saved(perceptron(), folder / "model.onnx"), CompileOptions(opt_shapes=(("x", (2, 17)),))


@pytest.mark.parametrize(
    ("case", "error"),
    [(_gaps, UnsupportedError), (_numerics, NumericsError), (_size_one, SourceError), (_misfit, UsageError)],
)
def test_a_compilation_that_fails_leaves_nothing(
    tmp_path: Path, case: Callable[[Path], tuple[Path, CompileOptions]], error: type[Exception]
) -> None:
    model, options = case(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(error):
        compiled(model, tmp_path / "deep" / "er" / "out", options)
    assert contents(tmp_path) == before
    assert not (tmp_path / "deep").exists()


def test_a_compilation_that_fails_leaves_the_bundle_that_was_there(perceptron_copy: Path, tmp_path: Path) -> None:
    before = contents(perceptron_copy)
    model, options = _numerics(tmp_path)
    with pytest.raises(NumericsError):
        compiled(model, perceptron_copy, options, force=True)
    assert contents(perceptron_copy) == before


def test_names_given_twice_and_a_precision_that_is_not_there_are_named_at_once(
    perceptron_file: Path, tmp_path: Path
) -> None:
    models = [ModelFile(name, perceptron_file) for name in ("a", "b", "a", "b")]
    with pytest.raises(UsageError) as caught:
        compile_bundle(models, tmp_path / "out", CompileOptions(precision=Precision.FP8))
    assert [problem.subject for problem in caught.value.problems] == ["model 'a'", "model 'b'", "--precision fp8"]


def test_two_models_share_what_they_have_in_common(tmp_path: Path) -> None:
    shared = normal(16, 32, seed=99)
    files = [
        ModelFile(name, saved(perceptron(seed, shared), tmp_path / f"{name}.onnx"))
        for name, seed in (("one", 1), ("two", 11))
    ]
    found = compile_bundle(files, tmp_path / "out", DEFAULTS)
    assert sorted(tensor.nbytes for tensor in found.bundle.index().tensors) == [1024, 1024, 2048]
    one, two = (found.bundle.manifest.engines[name].bindings["first"] for name in ("one", "two"))
    assert one.digest == two.digest
    assert found.report.weights is not None
    assert (found.report.weights.merged, found.report.weights.unique_bytes) == (1, 2048 + 2 * (1024 + 128))
    x = normal(3, 16)
    for file in files:
        with Session.open(tmp_path / "out", file.name) as session:
            np.testing.assert_allclose(
                session.run({"x": x})["y"],
                source_outputs(file.path, {"x": x})["y"],
                rtol=1e-4,
                atol=1e-5,
            )


@pytest.mark.parametrize("merge", [False, True])
def test_of_two_weights_that_are_equal_after_a_cast_one_is_stored_if_asked(tmp_path: Path, merge: bool) -> None:
    narrow = normal(32, 20).astype(np.float16)
    text = "a = Gather (narrow, ids) b = Cast <to = 1> (a) c = Gather (wide, ids) y = Sub (c, b)"
    model = parsed(f"g (int64[n] ids) => (float[n, 20] y) {{ {text} }}", narrow=narrow, wide=narrow.astype(np.float32))
    made = compiled(saved(model, tmp_path / "m.onnx"), tmp_path / "b", CompileOptions(merge_casts=merge))
    assert sum(tensor.nbytes for tensor in made.bundle.index().tensors) == narrow.nbytes * (1 if merge else 3)
    assert any("exact casts of a narrower one" in line for line in made.report.log)
    with Session.of(made.bundle) as session:
        assert not session.run({"ids": np.arange(32)})["y"].any()


def test_a_model_bigger_than_one_file(perceptron_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(perceptron(), path, save_as_external_data=True, location="model.data", size_threshold=0)
    compiled(path, tmp_path / "out")
    for part in ("engines", "weights"):
        assert contents(tmp_path / "out" / part) == contents(perceptron_bundle / part)


class TestDecoding:
    """A decoder with known tokens."""

    X = normal(6, 4, seed=3) * 4

    def test_it_generates_what_the_source_does(self, toy_bundle: Path) -> None:
        expected = toy_decoding(self.X, 1, (3, 4), 9)
        with Session.open(toy_bundle) as session:
            assert [spec.name for spec in session.signature.inputs] == ["x"]
            results = session.run({"x": self.X})
        assert results["lengths"].tolist() == [len(row) for row in expected]
        assert [
            row[:length].tolist() for row, length in zip(results["tokens"], results["lengths"], strict=True)
        ] == expected

    def test_its_samples_hold_tokens(self, toy_bundle: Path) -> None:
        for sample in stored_samples(Bundle.open(toy_bundle), "toy"):
            assert set(sample.decoded) == {"tokens", "lengths"}
            assert sample.decoded["tokens"].shape[0] == sample.inputs["x"].shape[0]

    def test_tokens_from_a_file_beside_the_model(self, toy_file: Path, tmp_path: Path) -> None:
        shutil.copy(toy_file, tmp_path / "toy.onnx")
        (tmp_path / "generation_config.json").write_text(
            '{"decoder_start_token_id": 1, "eos_token_id": [3, 4], "pad_token_id": 0, "max_new_tokens": 9,'
            ' "no_repeat_ngram_size": 3, "min_length": 0}'
        )
        found = compile_bundle([ModelFile("toy", tmp_path / "toy.onnx")], tmp_path / "out", DEFAULTS)
        assert "toy: decodes without applying no_repeat_ngram_size 3" in found.report.notices
        schedule = found.bundle.manifest.models["toy"].schedule
        assert isinstance(schedule, Decode)
        assert schedule.generation.eos == (3, 4)
        with Session.open(tmp_path / "out") as session:
            assert session.run({"x": self.X})["lengths"].tolist() == list(map(len, toy_decoding(self.X, 1, (3, 4), 9)))
        again = compile_bundle([ModelFile("toy", tmp_path / "toy.onnx")], tmp_path / "out", DEFAULTS)
        assert again.up_to_date
        (tmp_path / "generation_config.json").write_text('{"decoder_start_token_id": 2, "eos_token_id": 3}')
        with pytest.raises(BundleError, match="--force"):
            compile_bundle([ModelFile("toy", tmp_path / "toy.onnx")], tmp_path / "out", DEFAULTS)

    def test_every_schedule_of_the_target_gives_the_same_tokens(self, toy_file: Path, tmp_path: Path) -> None:
        tokens = TokenFlags(start=1, eos=(3, 4), pad=0, max_new_tokens=9)
        expected = toy_decoding(self.X, 1, (3, 4), 9)
        for _, control in find_target("onnxruntime").decodes:
            options = CompileOptions(schedule=control, tokens=tokens)
            compile_bundle([ModelFile("toy", toy_file)], tmp_path / control, options)
            with Session.open(tmp_path / control) as session:
                results = session.run({"x": self.X})
            assert results["lengths"].tolist() == [len(row) for row in expected], control
            for row, length, wanted in zip(results["tokens"], results["lengths"], expected, strict=True):
                assert row[:length].tolist() == wanted, control
                assert not row[length:].any(), control

    def test_partitions_of_equal_length_that_compute_the_same_are_one_engine(
        self, toy_file: Path, tmp_path: Path
    ) -> None:
        options = CompileOptions(partitions=(3, 6, 9), tokens=TokenFlags(start=1, eos=(3, 4), pad=0))
        bundle = compile_bundle([ModelFile("toy", toy_file)], tmp_path / "out", options).bundle
        model = bundle.manifest.models["toy"]
        assert model.functions[model.schedule.functions[-1]] == ("toy.until-3",) * 3
        assert set(bundle.manifest.engines) == {"toy.until-3", *model.functions[model.schedule.functions[0]]}
        with Session.open(tmp_path / "out") as session:
            for row, wanted in enumerate(toy_decoding(self.X, 1, (3, 4), 9)):
                answer = session.answer({"x": self.X[row : row + 1]})
                assert answer.outputs["tokens"].tolist() == [wanted]
                assert answer.calls[model.schedule.main] == -(-len(wanted) // 3)

    def test_partitions_are_engines_of_one_step(self, toy_file: Path, tmp_path: Path) -> None:
        tokens = TokenFlags(start=1, eos=(3, 4), pad=0)
        options = CompileOptions(partitions=(2, 5, 9), tokens=tokens)
        bundle = compile_bundle([ModelFile("toy", toy_file)], tmp_path / "out", options).bundle
        model = bundle.manifest.models["toy"]
        parts = ("toy.until-2", "toy.until-5", "toy.until-9")
        assert model.functions[model.schedule.functions[-1]] == parts
        bindings = [bundle.manifest.engines[part].bindings for part in parts]
        assert {ref.digest for ref in bindings[0].values()} == {ref.digest for ref in bindings[2].values()}
        lengths = list(map(len, toy_decoding(self.X, 1, (3, 4), 9)))
        with Session.open(tmp_path / "out") as session:
            for row, length in enumerate(lengths):
                answer = session.answer({"x": self.X[row : row + 1]})
                assert answer.outputs["lengths"].tolist() == [length]
                assert answer.calls[model.schedule.functions[-1]] == 1 + sum(length > cut for cut in (2, 5))
        assert len({1 + sum(length > cut for cut in (2, 5)) for length in lengths}) > 1


def test_a_pass_that_is_left_out_does_not_run_and_makes_another_bundle(perceptron_file: Path, tmp_path: Path) -> None:
    skipped = "eliminate-copies"
    found = compiled(perceptron_file, tmp_path / "out", CompileOptions(skip_passes=(skipped,)))
    assert skipped not in [step.name for step in found.bundle.manifest.passes]
    assert "fold-constants" in [step.name for step in found.bundle.manifest.passes]


def test_only_passes_that_nothing_needs_may_be_left_out(perceptron_file: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        compiled(perceptron_file, tmp_path / "out", CompileOptions(skip_passes=("fold-constants", "nothing")))
    assert [problem.subject for problem in caught.value.problems] == [
        "--skip-pass fold-constants",
        "--skip-pass nothing",
    ]
    assert all(name in caught.value.problems[0].hint for name in optional_passes(find_target("onnxruntime")))
