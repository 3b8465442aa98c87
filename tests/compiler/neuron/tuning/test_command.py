"""`unspool tune BUNDLE --target neuronx`, where the compiler is and where it is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from artifacts.bundle import Bundle
from compiler.neuron.tuning.work import Schedule
from tests.support.cli import unspool, unspool_process
from tests.support.neuronx_cc import Install

FEW = ("--auto-cast", "none,all", "--auto-cast-type", "bf16", "--model-type", "generic", "--optlevel", "1,2")


def test_where_the_compiler_is_sets_are_tried_and_ranked(
    capsys: pytest.CaptureFixture[str], double: Install, recorded_sources: Path, tmp_path: Path
) -> None:
    double("success")
    call = ("tune", recorded_sources, "--target", "neuronx", "--work", tmp_path / "work")
    found = unspool(capsys, *call, *FEW, "--neuron-target", "inf2", "--json")
    assert (found.status, found.document["trials"], found.document["known"]) == (0, 4, 0)
    sets = found.document["sets"]
    assert {each["options"]["target"] for each in sets} == {"inf2"}
    assert {(each["changes_numerics"], each["options"]["auto_cast_type"]) for each in sets} == {
        (False, None),
        (True, "bf16"),
    }
    assert found.document["emit"].startswith(f"unspool emit --from {recorded_sources} --target neuronx")
    assert all(each["latency_ms"] is None and each["neff_bytes"] for each in sets)
    assert sum(line.split(" s  ")[-1].startswith(("1/4", "4/4")) for line in found.stderr.splitlines()) == 2
    again = unspool(capsys, *call)
    assert "4 trials, 4 of them known before" in again.stdout
    assert "no device ran an engine" in again.stdout
    (command,) = [line for line in again.stdout.splitlines() if line.startswith("emit with: ")]
    assert f"unspool emit --from {recorded_sources} --target neuronx --neuron-target inf2 --model-type" in command
    assert "--auto-cast none --optlevel" in command
    assert not list(tmp_path.rglob("*.neff"))
    assert Bundle.open(recorded_sources)


def test_the_command_that_it_names_is_one(
    capsys: pytest.CaptureFixture[str], double: Install, recorded_sources: Path, tmp_path: Path
) -> None:
    seen = double("success")
    (tmp_path / "sets.json").write_text('[{"auto_cast": "none", "auto_cast_type": null, "extra": ["--verbose=info"]}]')
    call = ("tune", recorded_sources, "--target", "neuronx", "--work", tmp_path / "work")
    found = unspool(capsys, *call, "--sets", tmp_path / "sets.json")
    tried = seen.saw("arguments")
    (line,) = [line for line in found.stdout.splitlines() if line.startswith("emit with: unspool ")]
    arguments = line.removeprefix("emit with: unspool ").replace("BUNDLE2", str(tmp_path / "b")).split()
    emitted = unspool(capsys, *arguments, "--json")
    assert "is a fixture, and no NEFF" in emitted.error["message"]
    assert seen.saw("arguments") == tried


def test_sets_that_fail_say_why(
    capsys: pytest.CaptureFixture[str], double: Install, recorded_sources: Path, tmp_path: Path
) -> None:
    double("code")
    call = ("tune", recorded_sources, "--target", "neuronx", "--work", tmp_path / "work", *FEW)
    found = unspool(capsys, *call)
    assert found.status == 0
    assert found.stdout.count("perceptron: failed NCC_EVRF007") == 4
    assert "emit with" not in found.stdout
    assert unspool(capsys, *call, "--json").document["emit"] is None


def test_where_it_is_not_the_schedule_is_left_for_another_machine(
    capsys: pytest.CaptureFixture[str], recorded_sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    work = tmp_path / "work"
    call = ("tune", recorded_sources, "--target", "neuronx", "--work", work)
    found = unspool(capsys, *call, *FEW)
    assert found.status == 0
    assert f"{work / 'schedule.json'}: 4 trials, none of which can run here: neuronx-cc is not on PATH" in found.stdout
    assert f"unspool tune {recorded_sources} --target neuronx --work {work}" in found.stdout
    before = (work / "schedule.json").read_bytes()
    assert len(Schedule.model_validate_json(before).sets) == 4
    document = unspool(capsys, *call, "--json").document
    assert (document["trials"], document["compiler"]) == (4, None)
    assert (work / "schedule.json").read_bytes() == before


def test_neither_torch_nor_jax_is_needed(double: Install, recorded_sources: Path, tmp_path: Path) -> None:
    double("success")
    blocked = ("torch", "jax", "jaxlib", "onnx", "onnx_ir", "onnxruntime", "ml_dtypes", "sympy")
    call = ("tune", recorded_sources, "--target", "neuronx", "--work", tmp_path / "work", "--auto-cast", "none")
    found = unspool_process(*call, "--model-type", "generic", "--optlevel", "2", "--json", blocked=blocked)
    assert (found.status, found.document["trials"]) == (0, 1), found.stderr


@pytest.mark.parametrize(
    ("arguments", "subjects"),
    [
        (("BUNDLE",), ["--target onnxruntime"]),
        (("BUNDLE", "--optlevel", "1", "--compiler-timeout", "9"), ["--optlevel", "--compiler-timeout"]),
        (("BUNDLE", "--target", "neuronx", "--batch", "1", "-o", "b", "--bos", "1"), ["--output", "--batch", "--bos"]),
        (("BUNDLE", "--target", "neuronx", "--optlevel", "4"), ["--optlevel"]),
        (("BUNDLE", "--target", "neuronx", "--sets", "SETS", "--optlevel", "1"), ["--sets SETS"]),
        (("BUNDLE", "--target", "neuronx", "--work", "BUNDLE/w"), ["--work BUNDLE/w"]),
        (
            ("BUNDLE", "--target", "neuronx", "--neuron-target", "trn1", "--logical-nc-config", "1"),
            ["--logical-nc-config"],
        ),
        (("OTHER", "--target", "neuronx"), ["OTHER"]),
        (("model.onnx", "--target", "neuronx", "--optlevel", "1", "--jobs", "2"), ["--optlevel", "--jobs"]),
        (("model.onnx",), ["--lengths"]),
    ],
)
def test_a_wrong_call_does_no_work(
    arguments: tuple[str, ...],
    subjects: list[str],
    capsys: pytest.CaptureFixture[str],
    recorded_sources: Path,
    perceptron_bundle: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "sets.json").write_text(json.dumps([{}]))
    paths = {"BUNDLE": recorded_sources, "OTHER": perceptron_bundle, "SETS": tmp_path / "sets.json"}

    def at(text: str) -> str:
        for name, path in paths.items():
            text = text.replace(name, str(path))
        return text

    found = unspool(capsys, "tune", *map(at, arguments), "--json")
    assert found.status == 2
    assert [error["subject"] for error in found.document["errors"]] == [at(subject) for subject in subjects]
    assert not recorded_sources.with_name(f"{recorded_sources.name}.tune").exists()
