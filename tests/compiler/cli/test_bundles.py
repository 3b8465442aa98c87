from __future__ import annotations

import re
import shutil
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from artifacts.runtime import Session
from compiler.compile import compile_bundle
from compiler.options import CompileOptions, ModelFile
from tests.fuzz.bundle_mutations import seal
from tests.support.cli import unspool
from tests.support.models import Array, BundleCache, floats, graph_model, normal, saved, scale_weights, toy_decoding
from tests.support.neff import FILE_NAME, TRACED_NAME, NeffFixture, tar_bytes, traced_bytes
from tests.support.tensorrt import built_plan, put_plans


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """x float32 [3, 16] in a file."""
    np.savez(tmp_path / "in.npz", x=normal(3, 16))
    return tmp_path / "in.npz"


class TestRun:
    def test_outputs_in_a_file(
        self, capsys: pytest.CaptureFixture[str], perceptron_bundle: Path, inputs: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out.npz"
        found = unspool(capsys, "run", perceptron_bundle, "--inputs", inputs, "-o", out)
        assert found.status == 0
        assert found.stdout == "y: float32[3, 8]\n"
        assert re.fullmatch(r"\d+\.\d ms\n", found.stderr)
        with Session.open(perceptron_bundle) as session, np.load(out) as outputs:
            assert set(outputs) == {"y"}
            np.testing.assert_array_equal(outputs["y"], session.run({"x": normal(3, 16)})["y"])
        assert {path.name for path in tmp_path.iterdir()} == {"in.npz", "out.npz"}

    def test_outputs_in_the_document(
        self, capsys: pytest.CaptureFixture[str], perceptron_bundle: Path, inputs: Path
    ) -> None:
        found = unspool(capsys, "run", perceptron_bundle, "--inputs", inputs, "--threads", "1", "--json")
        document = found.document
        assert (found.status, found.stderr) == (0, "")
        assert document["outputs"] == {"y": {"dtype": "float32", "shape": [3, 8]}}
        with Session.open(perceptron_bundle) as session:
            np.testing.assert_allclose(document["values"]["y"], session.run({"x": normal(3, 16)})["y"])
        assert document["seconds"] > 0
        assert document["output"] is None

    def test_a_decoding_bundle_gives_tokens(
        self, capsys: pytest.CaptureFixture[str], toy_bundle: Path, tmp_path: Path
    ) -> None:
        x = normal(6, 4, seed=3) * 4
        np.savez(tmp_path / "in.npz", x=x)
        expected = toy_decoding(x, 1, (3, 4), 9)
        document = unspool(capsys, "run", toy_bundle, "--inputs", tmp_path / "in.npz", "--json").document
        assert document["outputs"]["tokens"] == {"dtype": "int64", "shape": [6, 9]}
        assert document["values"]["lengths"] == [len(row) for row in expected]
        assert document["values"]["tokens"] == [row + [0] * (9 - len(row)) for row in expected]
        parts = unspool(capsys, "run", toy_bundle, "--inputs", tmp_path / "in.npz", "--batch", "4", "--json").document
        assert parts["values"] == document["values"]
        assert parts["calls"] == {name: 2 * count for name, count in document["calls"].items()}

    def test_a_batch_is_for_models_that_decode(
        self, capsys: pytest.CaptureFixture[str], perceptron_bundle: Path, inputs: Path
    ) -> None:
        found = unspool(capsys, "run", perceptron_bundle, "--inputs", inputs, "--batch", "2", "--json")
        assert found.status == 1
        assert "is called once" in found.error["message"]

    @pytest.mark.parametrize(
        ("arrays", "subject", "message", "hint"),
        [
            ({}, "x", "is missing", "x: float32[batch, 16]"),
            ({"x": normal(2, 16), "z": normal(1)}, "z", "is not an input", "the inputs are: x"),
            ({"x": normal(2, 17)}, "x", "size 17 in dimension 1, the model takes 16", "x: float32[batch, 16]"),
            ({"x": normal(16)}, "x", "1 dimensions, the model takes 2", "x: float32[batch, 16]"),
            ({"x": np.ones((2, 16), np.float64)}, "x", "is float64, the model takes float32", "astype"),
        ],
    )
    def test_inputs_that_do_not_fit(
        self,
        capsys: pytest.CaptureFixture[str],
        perceptron_bundle: Path,
        tmp_path: Path,
        arrays: dict[str, Array],
        subject: str,
        message: str,
        hint: str,
    ) -> None:
        np.savez(tmp_path / "in.npz", **arrays)  # type: ignore[arg-type]  # numpy types its flag beside **arrays
        command = ["run", perceptron_bundle, "--inputs", tmp_path / "in.npz", "-o", tmp_path / "out.npz"]
        found = unspool(capsys, *command, "--json")
        assert found.status == 1
        assert found.error["subject"] == subject
        assert message in found.error["message"]
        assert hint in found.error["hint"]
        assert not (tmp_path / "out.npz").exists()

    def test_a_file_that_is_no_npz(
        self, capsys: pytest.CaptureFixture[str], perceptron_bundle: Path, tmp_path: Path
    ) -> None:
        np.save(tmp_path / "in.npz.npy", normal(2, 16))
        found = unspool(capsys, "run", perceptron_bundle, "--inputs", tmp_path / "in.npz.npy", "--json")
        assert found.status == 1
        assert "not an .npz" in found.error["message"]

    def test_a_file_that_would_run_code_is_refused(
        self, capsys: pytest.CaptureFixture[str], perceptron_bundle: Path, tmp_path: Path
    ) -> None:
        np.savez(tmp_path / "in.npz", x=np.array([{"a": 1}], dtype=object))
        found = unspool(capsys, "run", perceptron_bundle, "--inputs", tmp_path / "in.npz", "--json")
        assert found.status == 1
        assert found.error["stage"] == "samples"

    def test_an_output_folder_that_is_not_there(
        self, capsys: pytest.CaptureFixture[str], perceptron_bundle: Path, inputs: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "no" / "out.npz"
        found = unspool(capsys, "run", perceptron_bundle, "--inputs", inputs, "-o", out, "--json")
        assert found.status == 2
        assert found.error["subject"] == str(out)

    def test_a_model_that_is_not_there(
        self, capsys: pytest.CaptureFixture[str], pair_bundle: Path, inputs: Path
    ) -> None:
        found = unspool(capsys, "run", pair_bundle, "--inputs", inputs, "--model", "three", "--json")
        assert found.status == 1
        assert "one, two" in found.error["hint"]

    def test_numbers_that_json_does_not_have(
        self, capsys: pytest.CaptureFixture[str], cache: BundleCache, tmp_path: Path
    ) -> None:
        nodes = [helper.make_node("Sqrt", ["x"], ["roots"]), helper.make_node("Reciprocal", ["x"], ["inverse"])]
        model = graph_model(nodes, [floats("x", "n")], [floats("roots", "n"), floats("inverse", "n")])
        files = [ModelFile("edge", saved(model, tmp_path / "edge.onnx"))]
        bundle = cache.get("edge", lambda bundle: compile_bundle(files, bundle, CompileOptions()))
        np.savez(tmp_path / "in.npz", x=np.array([-1, 0.0, -0.0, 4], np.float32))
        document = unspool(capsys, "run", bundle, "--inputs", tmp_path / "in.npz", "--json").document
        assert document["values"] == {
            "roots": ["NaN", 0.0, 0.0, 2.0],
            "inverse": [-1.0, "Infinity", "-Infinity", 0.25],
        }


class TestVerify:
    def test_own_samples(self, capsys: pytest.CaptureFixture[str], perceptron_bundle: Path) -> None:
        found = unspool(capsys, "verify", perceptron_bundle)
        assert found.status == 0
        assert "3 of 3 outputs agree" in found.stdout
        document = unspool(capsys, "verify", perceptron_bundle, "--json").document
        assert [(c["model"], c["sample"], c["output"]) for c in document["checks"]] == [
            ("perceptron", number, "y") for number in range(3)
        ]
        assert all(check["passed"] and check["required"] <= 1 for check in document["checks"])

    def test_a_source(
        self,
        capsys: pytest.CaptureFixture[str],
        perceptron_bundle: Path,
        perceptron_file: Path,
        inputs: Path,
    ) -> None:
        command = ["verify", perceptron_bundle, "--against", perceptron_file, "--inputs", inputs, "--json"]
        found = unspool(capsys, *command)
        assert found.status == 0
        assert len(found.document["checks"]) == 1

    def test_wrong_answers(self, capsys: pytest.CaptureFixture[str], perceptron_copy: Path) -> None:
        scale_weights(perceptron_copy, 1.01)
        found = unspool(capsys, "verify", perceptron_copy)
        assert found.status == 1
        assert "0 of 3 outputs agree" in found.stdout
        assert found.stdout.count("DIFFERS") == 3
        assert re.search(r"--atol \S+ would pass", found.stderr)
        found = unspool(capsys, "verify", perceptron_copy, "--json")
        assert (found.status, found.stderr) == (1, "")
        assert [error["stage"] for error in found.document["errors"]] == ["verify"] * 3
        assert unspool(capsys, "verify", perceptron_copy, "--atol", "1", "--rtol", "0.1").status == 0

    def test_inputs_need_a_source(
        self, capsys: pytest.CaptureFixture[str], perceptron_bundle: Path, inputs: Path
    ) -> None:
        found = unspool(capsys, "verify", perceptron_bundle, "--inputs", inputs, "--json")
        assert found.status == 2
        assert found.error["message"] == "needs --against"

    def test_another_model(self, capsys: pytest.CaptureFixture[str], perceptron_bundle: Path, toy_file: Path) -> None:
        found = unspool(capsys, "verify", perceptron_bundle, "--against", toy_file)
        assert found.status == 2
        assert "has the inputs x, tokens" in found.stderr

    def test_a_damaged_bundle(self, capsys: pytest.CaptureFixture[str], perceptron_copy: Path) -> None:
        (perceptron_copy / "weights" / "extra").write_text("extra")
        (perceptron_copy / "samples" / "perceptron-0.inputs.npz").unlink()
        found = unspool(capsys, "verify", perceptron_copy, "--json")
        assert found.status == 1
        assert {error["subject"] for error in found.document["errors"]} == {
            "weights/extra",
            "samples/perceptron-0.inputs.npz",
        }


class TestCheck:
    def test_on_a_cpu(self, capsys: pytest.CaptureFixture[str], pair_bundle: Path) -> None:
        found = unspool(capsys, "check", pair_bundle, "--on", "cpu")
        assert (found.status, found.stderr) == (0, "")
        assert "2 of 2 engines can load on cpu" in found.stdout
        assert "CANNOT" not in found.stdout

    def test_on_a_gpu(self, capsys: pytest.CaptureFixture[str], perceptron_copy: Path) -> None:
        put_plans(perceptron_copy, {"perceptron": built_plan("sm89", "sm120")}, ("nvidia:sm89", "nvidia:sm120"))
        for flags in (["--on", "nvidia:sm89,nvidia:sm120"], ["--on", "nvidia:sm89", "--on", "nvidia:sm120"]):
            found = unspool(capsys, "check", perceptron_copy, *flags, "--json")
            assert found.status == 0
            assert found.document["engines"] == [
                {
                    "engine": "perceptron",
                    "kind": "tensorrt-rtx",
                    "loads": {"nvidia:sm89": True, "nvidia:sm120": True},
                }
            ]

    def test_an_error_for_every_engine_that_cannot_load(
        self, capsys: pytest.CaptureFixture[str], pair_bundle: Path, tmp_path: Path
    ) -> None:
        bundle = Path(shutil.copytree(pair_bundle, tmp_path / "copy"))
        put_plans(bundle, {"one": built_plan("sm86"), "two": built_plan("sm89")}, ("nvidia:sm86",))
        found = unspool(capsys, "check", bundle, "--on", "nvidia:sm89")
        assert found.status == 1
        assert "0 of 2 engines can load on nvidia:sm89" in found.stdout
        assert found.stdout.count("CANNOT LOAD") == 2
        errors = unspool(capsys, "check", bundle, "--on", "nvidia:sm89", "--json").document["errors"]
        assert [error["subject"] for error in errors] == ["engine 'one'", "engine 'two'"]
        assert errors[0]["hint"] == "compile with `--compute-capabilities 8.9`"
        assert "is for nvidia:sm89, the manifest says nvidia:sm86" in errors[1]["message"]

    def test_what_is_no_device(self, capsys: pytest.CaptureFixture[str], perceptron_bundle: Path) -> None:
        found = unspool(capsys, "check", perceptron_bundle, "--on", "sm89", "--json")
        assert found.status == 2
        assert "nvidia:sm89" in found.error["hint"]
        assert unspool(capsys, "check", perceptron_bundle).status == 2

    def test_a_damaged_bundle(self, capsys: pytest.CaptureFixture[str], perceptron_copy: Path) -> None:
        (perceptron_copy / "weights" / "extra").write_text("extra")
        found = unspool(capsys, "check", perceptron_copy, "--on", "cpu", "--json")
        assert found.status == 1
        assert found.error["subject"] == "weights/extra"


class TestInspect:
    def test_plans(self, capsys: pytest.CaptureFixture[str], perceptron_copy: Path) -> None:
        plan = built_plan("sm89", "sm120")
        put_plans(perceptron_copy, {"perceptron": plan}, ("nvidia:sm89", "nvidia:sm120"))
        found = unspool(capsys, "inspect", perceptron_copy)
        version = metadata.version("tensorrt_rtx")
        assert (found.status, found.stderr) == (0, "")
        table = found.stdout[found.stdout.index("Plans\n") :]
        for part in (f"TensorRT-RTX {version}", "sm89, sm120", f"{len(plan) / 1e6:.2f} MB"):
            assert part in table
        document = unspool(capsys, "inspect", perceptron_copy, "--json").document
        assert document["plans"] == {
            "perceptron": {"version": version, "capabilities": ["sm89", "sm120"], "bytes": len(plan)}
        }

    def test_a_plan_that_is_none(self, capsys: pytest.CaptureFixture[str], perceptron_copy: Path) -> None:
        put_plans(perceptron_copy, {"perceptron": b"plan"}, ("nvidia:sm89",))
        found = unspool(capsys, "inspect", perceptron_copy, "--json")
        assert found.status == 1
        assert found.error["subject"] == "engines/perceptron.plan"

    def test_no_plans(self, capsys: pytest.CaptureFixture[str], perceptron_bundle: Path) -> None:
        assert "Plans" not in unspool(capsys, "inspect", perceptron_bundle).stdout
        assert unspool(capsys, "inspect", perceptron_bundle, "--json").document["plans"] == {}

    def test_tables_are_whole_where_there_is_no_terminal(
        self, capsys: pytest.CaptureFixture[str], perceptron_bundle: Path
    ) -> None:
        found = unspool(capsys, "inspect", perceptron_bundle)
        assert (found.status, found.stderr) == (0, "")
        for part in ("Model perceptron", "float32[batch, 16]", "Engines", "verified", "Weights", "Made with"):
            assert part in found.stdout
        assert "\x1b" not in found.stdout

    @pytest.mark.parametrize("thing", ["perceptron_bundle", "perceptron_file"])
    def test_documents(self, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest, thing: str) -> None:
        document = unspool(capsys, "inspect", request.getfixturevalue(thing), "--json").document
        assert document["kind"] == {"perceptron_bundle": "bundle", "perceptron_file": "onnx"}[thing]

    def test_a_neff_and_a_traced_model(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        neff = NeffFixture(name="[red]FIXTURE\x1b[31m").to_bytes()
        (tmp_path / FILE_NAME).write_bytes(neff)
        (tmp_path / TRACED_NAME).write_bytes(traced_bytes(neff))
        for name, member in ((FILE_NAME, None), (TRACED_NAME, "fixture/data.pkl")):
            found = unspool(capsys, "inspect", tmp_path / name)
            assert (found.status, found.stderr) == (0, "")
            for part in (
                name,
                "[red]FIXTURE\\x1b[31m",
                "is that of the archive",
                "input0",
                "sg00/weight.bin",
                "info.json",
            ):
                assert part in found.stdout
            assert "\x1b" not in found.stdout
            document = unspool(capsys, "inspect", tmp_path / name, "--json").document
            assert (document["ok"], document["kind"]) == (True, "neff")
            assert [embedded["member"] for embedded in document["neffs"]] == [member]

    @pytest.mark.parametrize(
        "value", [b"NaN", b"[" * 195 + b"]" * 195, b'{"a":' * 195 + b"1" + b"}" * 195, b"9" * 4300]
    )
    def test_json_of_a_neff_that_is_odd(self, capsys: pytest.CaptureFixture[str], tmp_path: Path, value: bytes) -> None:
        (tmp_path / FILE_NAME).write_bytes(NeffFixture(archive=tar_bytes({"metrics.json": value})).to_bytes())
        assert unspool(capsys, "inspect", tmp_path / FILE_NAME).status == 0
        assert (
            "metrics.json"
            in unspool(capsys, "inspect", tmp_path / FILE_NAME, "--json").document["neffs"][0]["documents"]
        )

    def test_a_neff_that_is_cut_off(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        (tmp_path / FILE_NAME).write_bytes(NeffFixture().to_bytes()[:-1])
        found = unspool(capsys, "inspect", tmp_path / FILE_NAME, "--json")
        assert found.status == 1
        assert (found.error["stage"], found.error["subject"]) == ("neff", str(tmp_path / FILE_NAME))
        assert found.error["message"].startswith("is cut off")

    def test_a_name_that_looks_like_markup(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        nodes = [helper.make_node("Relu", ["[red]x[/red]"], ["[bold]"])]
        model = graph_model(nodes, [floats("[red]x[/red]", "n")], [floats("[bold]", "n")])
        found = unspool(capsys, "inspect", saved(model, tmp_path / "[link].onnx"))
        for name in ("[red]x[/red]", "[bold]", "[link].onnx"):
            assert name in found.stdout

    def test_what_is_not_there(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        found = unspool(capsys, "inspect", tmp_path / "nothing", "--json")
        assert found.status == 2
        assert found.error["message"] == "does not exist"


def test_an_engine_that_is_not_text_inside_leaves_stdout_to_the_document(
    capsys: pytest.CaptureFixture[str], perceptron_copy: Path
) -> None:
    """ONNX Runtime would print that it falls back."""
    engine = perceptron_copy / "engines" / "perceptron.onnx"
    engine.write_bytes(engine.read_bytes().replace(b"weights/", b"weigh\xbfs/"))
    seal(perceptron_copy)
    found = unspool(capsys, "verify", perceptron_copy, "--json")
    assert found.status == 1
    assert found.error["stage"] == "engine"
    assert found.error["subject"] == "engines/perceptron.onnx"
