from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from artifacts.bundle import Bundle
from artifacts.schedule import Decode
from compiler.cli.compiling import model_file
from compiler.options import ScheduleName
from compiler.targets.onnxruntime import OnnxRuntimeTarget
from tests.support.cli import child_environment, unspool
from tests.support.models import DATA, floats, graph_model, normal, perceptron, saved


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def gaps(path: Path) -> Path:
    nodes = [
        helper.make_node("Frobnicate", ["x"], ["a"], domain="nowhere"),
        helper.make_node("Transmogrify", ["a"], ["y"], domain="nowhere"),
    ]
    model = graph_model(nodes, [floats("x", 2)], [floats("y", 2)])
    model.opset_import.append(helper.make_opsetid("nowhere", 1))
    return saved(model, path)


SWALLOWING = """
import contextlib, signal
from passes.onnx_to_torch.registry import Registry

OPERATORS = Registry()
OPERATORS.op("Gadget", 1, domain="mine")(lambda call, x: x)
with contextlib.suppress(KeyboardInterrupt):
    signal.raise_signal(signal.SIGINT)
"""


class TestCompile:
    def test_a_bundle_twice_and_by_force(
        self, capsys: pytest.CaptureFixture[str], perceptron_file: Path, tmp_path: Path
    ) -> None:
        """The whole life of a destination: made, up to date, other options refused, replaced."""
        out = tmp_path / "deep" / "out"
        found = unspool(capsys, "compile", perceptron_file, "-o", out, "--json")
        assert found.status == 0
        document = found.document
        assert (document["ok"], document["result"], document["errors"]) == (True, "compiled", [])
        assert document["bundle"] == str(out.resolve())
        assert document["models"]["perceptron"]["kind"] == "single"
        assert document["engines"]["perceptron"] == {"status": "verified", "needs": []}
        assert {"emit", "verify"} <= {stage["name"] for stage in document["report"]["stages"]}
        assert "emit" in found.stderr, "progress is for people, on stderr"

        made = contents(out)
        os.utime(out / "manifest.json", (1000, 1000))
        found = unspool(capsys, "compile", perceptron_file, "-o", out)
        assert (found.status, found.stdout) == (0, f"{out.resolve()}: up to date\n")
        assert contents(out) == made
        assert (out / "manifest.json").stat().st_mtime > time.time() - 60
        assert unspool(capsys, "compile", perceptron_file, "-o", out, "--json").document["result"] == "up to date"

        found = unspool(capsys, "compile", perceptron_file, "-o", out, "--rtol", "0.001", "--json")
        assert found.status == 1
        assert (found.error["stage"], found.error["subject"]) == ("bundle", str(out))
        assert "--force" in found.error["hint"]
        assert contents(out) == made

        found = unspool(capsys, "compile", perceptron_file, "-o", out, "--rtol", "0.001", "--force")
        assert found.status == 0
        assert "largest difference from the source" in found.stdout
        assert "engine perceptron: verified" in found.stdout
        assert Bundle.open(out).manifest.numerics.tolerances["float32"].rtol == 0.001  # type: ignore[index]  # a StrEnum's value
        assert [path.name for path in out.parent.iterdir()] == ["out"]

    def test_replacing_what_was_made_from_other_inputs(
        self, capsys: pytest.CaptureFixture[str], perceptron_file: Path, perceptron_copy: Path
    ) -> None:
        """A bundle of the same inputs stays; one of others, or of which a file is damaged, is made anew."""

        def replaced(*flags: str) -> tuple[int, str]:
            found = unspool(capsys, "compile", perceptron_file, "-o", perceptron_copy, "--replace", "--json", *flags)
            return found.status, found.document.get("result", "")

        made = contents(perceptron_copy)
        os.utime(perceptron_copy / "manifest.json", (1000, 1000))
        assert replaced() == (0, "up to date")
        assert contents(perceptron_copy) == made
        assert (perceptron_copy / "manifest.json").stat().st_mtime > time.time() - 60
        assert replaced("--rtol", "0.001") == (0, "compiled")
        assert Bundle.open(perceptron_copy).manifest.numerics.tolerances["float32"].rtol == 0.001  # type: ignore[index]  # a StrEnum's value
        assert replaced("--rtol", "0.001") == (0, "up to date")
        (engine,) = (perceptron_copy / "engines").iterdir()
        whole = engine.read_bytes()
        engine.chmod(0o644)
        engine.write_bytes(whole[:-1])
        assert replaced("--rtol", "0.001") == (0, "compiled")
        assert engine.read_bytes() == whole
        assert [path.name for path in perceptron_copy.parent.iterdir()] == ["copy"]

    def test_something_that_is_no_bundle_is_not_replaced(
        self, capsys: pytest.CaptureFixture[str], perceptron_file: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "notes").write_text("mine")
        found = unspool(capsys, "compile", perceptron_file, "-o", tmp_path / "out", "--replace", "--json")
        assert (found.status, found.error["stage"]) == (1, "bundle")
        assert contents(tmp_path) == {"out/notes": b"mine"}

    def test_two_models_by_name(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        shared = normal(16, 32, seed=99)
        for seed, name in enumerate(("a", "b")):
            saved(perceptron(seed, shared), tmp_path / f"{name}.onnx")
        command = ["compile", f"first.one={tmp_path / 'a.onnx'}", f"2={tmp_path / 'b.onnx'}", "-o", tmp_path / "out"]
        assert unspool(capsys, *command).status == 0
        bundle = Bundle.open(tmp_path / "out")
        assert set(bundle.manifest.models) == {"first.one", "2"}
        assert len(bundle.index().tensors) == 3, "what both have is stored once"

        x = normal(3, 16)
        np.savez(tmp_path / "in.npz", x=x)
        answers = {}
        for name in bundle.manifest.models:
            run = ["run", tmp_path / "out", "--inputs", tmp_path / "in.npz", "--model", name, "--json"]
            answers[name] = unspool(capsys, *run).document["values"]["y"]
        assert not np.allclose(answers["first.one"], answers["2"])
        found = unspool(capsys, "run", tmp_path / "out", "--inputs", tmp_path / "in.npz", "--json")
        assert found.status == 1
        assert "first.one" in found.error["hint"]

    @pytest.mark.parametrize(
        ("file", "argument", "name"),
        [
            ("model.onnx", "{}", "model"),
            ("my model (1).onnx", "{}", "my_model__1_"),
            ("..hidden.onnx", "{}", "hidden"),
            ("...onnx", "{}", "model"),
            ("a=b.onnx", "{}", "a_b"),
            ("a=b.onnx", "x={}", "x"),
            ("lr=0.1,wd=2.onnx", "best-1.0={}", "best-1.0"),
        ],
    )
    def test_names_and_paths(self, tmp_path: Path, file: str, argument: str, name: str) -> None:
        path = saved(perceptron(), tmp_path / file)
        found = model_file(argument.format(path))
        assert (found.name, found.path) == (name, path)

    def test_one_name_for_two_models(
        self, capsys: pytest.CaptureFixture[str], perceptron_file: Path, tmp_path: Path
    ) -> None:
        found = unspool(capsys, "compile", perceptron_file, perceptron_file, "-o", tmp_path / "out", "--json")
        assert found.status == 2
        assert found.error["subject"] == "model 'perceptron'"
        assert "a=FILE.onnx" in found.error["hint"]

    @pytest.mark.parametrize(
        ("flags", "subject", "hint"),
        [
            (["--target", "abacus"], "--target", "onnxruntime"),
            (["--precision", "fp8"], "--precision fp8", "it can do: fp32"),
            (["--schedule", "loop", "--bos", "1"], "--schedule loop", "--bos and --eos"),
            (["--partitions", "5,x"], "--partitions", "25,50,75"),
            (["--opt-shapes", "x"], "--opt-shapes", "ids:1x16"),
            (["--opt-shapes", "y:2x4"], "--opt-shapes", "its inputs are x, tokens"),
        ],
    )
    def test_what_cannot_be_done_is_answered_with_what_can(
        self,
        capsys: pytest.CaptureFixture[str],
        toy_file: Path,
        tmp_path: Path,
        flags: list[str],
        subject: str,
        hint: str,
    ) -> None:
        found = unspool(capsys, "compile", toy_file, "-o", tmp_path / "out", *flags, "--json")
        assert found.status == 2
        assert subject in found.error["subject"]
        assert hint in found.error["hint"]
        assert list(tmp_path.iterdir()) == []

    def test_every_schedule_that_the_target_can_do_is_listed(
        self, capsys: pytest.CaptureFixture[str], toy_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tokens = ["--bos", "1", "--eos", "2", "--schedule", "loop", "--cache", "on"]
        monkeypatch.setattr(OnnxRuntimeTarget, "decodes", (("recompute", ScheduleName.ENGINE_LOOP),))
        found = unspool(capsys, "compile", toy_file, "-o", tmp_path / "out", *tokens, "--json")
        assert found.status == 2
        assert found.error["hint"] == "it can do: engine-loop (recompute)"

    def test_all_gaps_at_once(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        model = gaps(tmp_path / "model.onnx")
        found = unspool(capsys, "compile", model, "-o", tmp_path / "out", "--json")
        assert found.status == 1
        subjects = [error["subject"] for error in found.document["errors"]]
        assert subjects == ["nowhere.Frobnicate-1", "nowhere.Transmogrify-1"]
        assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]

    def test_flags_of_a_decoder(self, capsys: pytest.CaptureFixture[str], toy_file: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        tokens = ["--bos", "1", "--eos", "3", "--eos", "4", "--pad", "6", "--max-length", "5"]
        assert unspool(capsys, "compile", toy_file, "-o", out, *tokens).status == 0
        schedule = Bundle.open(out).manifest.models["toy"].schedule
        assert isinstance(schedule, Decode)
        generation = schedule.generation
        assert (generation.start, generation.eos, generation.pad, generation.max_new_tokens) == (1, (3, 4), 6, 5)

    def test_samples_shapes_and_a_depfile(
        self, capsys: pytest.CaptureFixture[str], perceptron_file: Path, tmp_path: Path
    ) -> None:
        np.savez(tmp_path / "in.npz", x=normal(5, 16))
        command = ["compile", perceptron_file, "-o", tmp_path / "out", "--samples", tmp_path / "in.npz"]
        assert unspool(capsys, *command, "--depfile", tmp_path / "out.d").status == 0
        (sample,) = Bundle.open(tmp_path / "out").manifest.models["perceptron"].samples
        with np.load(tmp_path / "out" / sample.inputs) as inputs:
            np.testing.assert_array_equal(inputs["x"], normal(5, 16))
        rule, *_ = (tmp_path / "out.d").read_text().splitlines()
        assert rule == f"{tmp_path}/out/manifest.json: {perceptron_file} {tmp_path}/in.npz"

    def test_calibration_without_a_use_or_a_folder_is_a_wrong_call(
        self, capsys: pytest.CaptureFixture[str], perceptron_file: Path, tmp_path: Path
    ) -> None:
        command = ["compile", perceptron_file, "-o", tmp_path / "out", "--json"]
        given = ["--calibration", tmp_path, "--calibration-method", "entropy"]
        for precision in ("fp32", "auto"):
            found = unspool(capsys, *command, "--precision", precision, *given)
            assert found.status == 2
            assert found.error["subject"] == f"--calibration {tmp_path}"
            assert "--precision int8" in found.error["hint"]
        for wrong in (["--calibration", tmp_path / "no"], ["--calibration-method", "guess"]):
            assert unspool(capsys, *command, *wrong).status == 2
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("occupied", ["file", "folder"])
    def test_a_destination_that_is_not_a_bundle(
        self, capsys: pytest.CaptureFixture[str], perceptron_file: Path, tmp_path: Path, occupied: str
    ) -> None:
        out = tmp_path / "out"
        mine = out if occupied == "file" else out / "mine"
        mine.parent.mkdir(exist_ok=True)
        mine.write_text("mine")
        for force in ([], ["--force"]):
            found = unspool(capsys, "compile", perceptron_file, "-o", out, *force, "--json")
            assert found.status == 1
            assert found.error["stage"] == "bundle"
            assert mine.read_text() == "mine"

    def test_an_interrupt_leaves_nothing(self, tmp_path: Path) -> None:
        model = DATA / "bert_tiny" / "model.onnx"
        arguments = ["compile", str(model), "-o", str(tmp_path / "new" / "out")]
        # As the installed command does it; with -m Python ends by the signal, whatever status is asked for.
        script = "import sys; from compiler.cli.main import run; run(sys.argv[1:])"
        with subprocess.Popen(
            [sys.executable, "-c", script, *arguments], env=child_environment(), stderr=subprocess.PIPE, text=True
        ) as process:
            deadline = time.monotonic() + 60
            while not list(tmp_path.glob("new/.out.*")) and time.monotonic() < deadline:
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            assert process.stderr is not None
            assert "interrupted" in process.stderr.read()
        assert process.returncode == 130
        assert list(tmp_path.iterdir()) == []

    def test_an_interrupt_that_a_library_swallows_is_not_lost(
        self, capsys: pytest.CaptureFixture[str], perceptron_file: Path, tmp_path: Path
    ) -> None:
        code = tmp_path / "swallowing.py"
        code.write_text(SWALLOWING)
        found = unspool(capsys, "compile", perceptron_file, "-o", tmp_path / "out", "--custom-ops", code, "--json")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert found.status == 130
        assert found.error["message"] == "interrupted"
        assert [path.name for path in tmp_path.iterdir()] == ["swallowing.py"]

    def test_an_interrupt_that_is_ignored_stays_ignored(
        self, capsys: pytest.CaptureFixture[str], perceptron_file: Path, tmp_path: Path
    ) -> None:
        code = tmp_path / "swallowing.py"
        code.write_text(SWALLOWING)
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            found = unspool(capsys, "compile", perceptron_file, "-o", tmp_path / "out", "--custom-ops", code)
        finally:
            signal.signal(signal.SIGINT, before)
        assert found.status == 0


class TestConvert:
    def test_a_program(self, capsys: pytest.CaptureFixture[str], perceptron_file: Path, tmp_path: Path) -> None:
        out = tmp_path / "m.pt2"
        found = unspool(capsys, "convert", perceptron_file, "-o", out, "--opt-shapes", "x:4x16", "--json")
        assert found.status == 0
        document = found.document
        assert document["output"] == str(out)
        assert [spec["name"] for spec in document["signature"]["inputs"]] == ["x"]
        assert 0 <= document["max_abs"] < 1e-4
        assert out.stat().st_size > 4 * 16 * 32

        found = unspool(capsys, "convert", perceptron_file, "-o", out, "--json")
        assert found.status == 2
        assert "--force" in found.error["hint"]
        found = unspool(capsys, "convert", perceptron_file, "-o", out, "--force")
        assert found.status == 0
        assert "(x: float32[batch, 16]) -> (y: float32[batch, 8])" in found.stdout

    def test_all_gaps_at_once(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        found = unspool(capsys, "convert", gaps(tmp_path / "model.onnx"), "-o", tmp_path / "m.pt2")
        assert (found.status, found.stdout) == (1, "")
        assert "Frobnicate" in found.stderr
        assert "Transmogrify" in found.stderr
        assert not (tmp_path / "m.pt2").exists()


def test_a_model_that_is_not_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for command in ("compile", "convert"):
        found = unspool(capsys, command, tmp_path / "no.onnx", "-o", tmp_path / "out", "--json")
        assert found.status == 1
        assert found.error["subject"] == str(tmp_path / "no.onnx")
        assert found.error["message"] == "no such file"


def test_a_model_that_is_cut_short(capsys: pytest.CaptureFixture[str], perceptron_file: Path, tmp_path: Path) -> None:
    cut = Path(shutil.copy(perceptron_file, tmp_path / "cut.onnx"))
    cut.write_bytes(cut.read_bytes()[:1000])
    for command in ("compile", "convert"):
        found = unspool(capsys, command, cut, "-o", tmp_path / "out", "--json")
        assert found.status == 1
        assert "truncated" in found.error["message"] + found.error["hint"]
    assert [path.name for path in tmp_path.iterdir()] == ["cut.onnx"]
