from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer

from artifacts.errors import UsageError
from compiler.cli.compiling import compile_command
from compiler.flags.compiling import CompileFlags
from compiler.zoo.fetch import path_of
from compiler.zoo.read import Zoo, read_zoo
from compiler.zoo.rules import make_rules

RECORDING = """
import json, sys
from pathlib import Path
with open("asked.jsonl", "a") as file:
    print(json.dumps(sys.argv[1:]), file=file)
if sys.argv[1] == "compile":
    made = Path(sys.argv[sys.argv.index("-o") + 1], "manifest.json")
    made.parent.mkdir(parents=True, exist_ok=True)
    made.touch()
"""
"""In the place of `unspool`: writes down how it was called, and makes the file that make goes by."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that make runs in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "record.py").write_text(RECORDING)
    return tmp_path


def zoo_of(folder: Path, models: Sequence[dict[str, Any]], **more: Any) -> Zoo:
    """A zoo, whose models' files are there and long done."""
    for entry in models:
        paths = {**entry.get("parts", {}), "": entry.get("path", "s3://")}
        for path in paths.values():
            if "://" not in path and not (folder / path).exists():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).touch()
                os.utime(folder / path, (1000, 1000))
    (folder / "zoo.yaml").write_text(json.dumps({"models": models, **more}))
    return read_zoo(folder / "zoo.yaml")


def rules(folder: Path, zoo: Zoo, root: str = "out") -> str:
    text = make_rules(zoo, Path(root), lambda location: path_of(Path(root), location))
    (folder / "zoo.mk").write_text(text)
    return text


def make(folder: Path, *arguments: str) -> list[list[str]]:
    """How `unspool` is called when make makes something."""
    (folder / "asked.jsonl").write_text("")
    recorder = f"UNSPOOL={sys.executable} {folder / 'record.py'}"
    command = ["make", "--no-builtin-rules", "--warn-undefined-variables", "-f", "zoo.mk", recorder, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return [json.loads(line) for line in (folder / "asked.jsonl").read_text().splitlines()]


def parsed(arguments: Sequence[str]) -> dict[str, Any]:
    """The parameters that `unspool compile` reads from its arguments."""
    app = typer.Typer()
    app.command()(compile_command)
    assert arguments[0] == "compile"
    with typer.main.get_command(app).make_context("compile", [*arguments[1:]]) as context:
        return {name: value for name, value in context.params.items() if value is not None}


def flags_of(parameters: dict[str, Any]) -> CompileFlags:
    names = CompileFlags.__dataclass_fields__
    found: dict[str, Any] = {
        name: list(value) if isinstance(value, tuple) else value for name, value in parameters.items()
    }
    return CompileFlags(**{name: value for name, value in found.items() if name in names and value != []})


def test_the_rules_of_one_model_as_people_read_them(folder: Path) -> None:
    zoo = zoo_of(folder, [{"name": "a", "path": "m/a.onnx", "options": {"max-length": 7}}])
    assert (
        rules(folder, zoo)
        == """\
# Made by `unspool zoo rules zoo.yaml -o out`: make it again when that file changes.
UNSPOOL ?= unspool

.PHONY: zoo zoo-a
zoo: zoo-a
zoo-a: out/a/onnxruntime-fp32/manifest.json

out/a/onnxruntime-fp32/manifest.json: m/a.onnx out/.rules/a/onnxruntime-fp32.flags
\t$(UNSPOOL) compile a=m/a.onnx -o out/a/onnxruntime-fp32 --store out/store --replace \
--depfile out/.rules/a/onnxruntime-fp32.d --precision fp32 --max-length 7

-include out/.rules/a/onnxruntime-fp32.d
"""
    )


def test_make_asks_for_what_the_zoo_says_and_for_nothing_again(folder: Path) -> None:
    """The whole way: rules, make, a shell, the command's own parser."""
    entries: list[dict[str, Any]] = [
        {"name": "a", "path": "a.onnx", "targets": ["onnxruntime", "torchscript"], "batches": [2, 3]},
        {"name": "spaces", "path": "m m/it's $HOME #1.onnx"},
        {"name": "s", "parts": {"encoder": "e.onnx", "decoder": "d.onnx"}},
    ]
    options = {"opt-shapes": "x:{batch}x16", "logits": "-$(y) 'q' #%"}
    entries[0]["options"], entries[1]["options"] = options, {"logits": "$$", "eos": [1, 2]}
    zoo = zoo_of(folder, entries, defaults={"tolerances": {"atol": 0.5}})
    rules(folder, zoo, "out $d")
    asked = make(folder, "zoo")
    assert len(asked) == len(zoo.jobs) == 6
    found = {str(parameters["output"]): parameters for parameters in map(parsed, asked)}
    assert set(found) == {f"out $d/{job.name}" for job in zoo.jobs}
    for job in zoo.jobs:
        parameters = found[f"out $d/{job.name}"]
        assert flags_of(parameters) == job.flags
        assert (parameters["replace"], parameters["force"], parameters["store"]) == (True, False, "out $d/store")
        assert parameters["depfile"] == Path(f"out $d/.rules/{job.name}.d")
    assert found["out $d/spaces/onnxruntime-fp32"]["models"] == ["spaces=m m/it's $HOME #1.onnx"]
    parts = found["out $d/s/onnxruntime-fp32"]
    assert (parts["name"], sorted(parts["part"])) == ("s", ["decoder=d.onnx", "encoder=e.onnx"])
    assert not parts.get("models")
    assert make(folder, "zoo") == []

    os.utime(folder / "m m" / "it's $HOME #1.onnx")
    assert [parsed(each)["models"] for each in make(folder, "zoo")] == [["spaces=m m/it's $HOME #1.onnx"]]
    os.utime(folder / "e.onnx")
    assert make(folder, "zoo-a") == []
    assert [parsed(each)["name"] for each in make(folder, "zoo-s")] == ["s"]


def test_a_depfile_is_read(folder: Path) -> None:
    zoo = zoo_of(folder, [{"name": "a", "path": "a.onnx"}, {"name": "b", "path": "b.onnx"}])
    rules(folder, zoo)
    assert len(make(folder, "zoo")) == 2
    (folder / "w.data").touch()
    (folder / "out/.rules/a/onnxruntime-fp32.d").write_text("out/a/onnxruntime-fp32/manifest.json: w.data\nw.data:\n")
    made = (folder / "out/a/onnxruntime-fp32/manifest.json").stat().st_mtime_ns
    os.utime(folder / "w.data", ns=(made + 1, made + 1))
    ((*_, output),) = [each[:4] for each in make(folder, "zoo")]
    assert output == "out/a/onnxruntime-fp32"


def test_other_flags_make_their_job_anew_and_no_other(folder: Path) -> None:
    entries: list[dict[str, Any]] = [{"name": name, "path": f"{name}.onnx"} for name in "ab"]
    rules(folder, zoo_of(folder, entries))
    make(folder, "zoo")
    rules(folder, zoo_of(folder, [*entries, {"name": "c", "path": "c.onnx"}]))
    assert [each[1] for each in make(folder, "zoo")] == ["c=c.onnx"], "a model that came is no reason for the others"
    files = {path: path.stat().st_mtime_ns for path in (folder / "out" / ".rules").rglob("*.flags")}
    rules(folder, zoo_of(folder, [{**entries[0], "options": {"max-length": 3}}, entries[1]]))
    changed = [path for path, time in files.items() if path.stat().st_mtime_ns != time]
    assert changed == [folder / "out/.rules/a/onnxruntime-fp32.flags"]
    assert changed[0].read_text() == "--precision fp32 --max-length 3\n"
    asked = [parsed(each) for each in make(folder, "zoo")]
    assert [(parameters["models"], parameters["max_length"]) for parameters in asked] == [(["a=a.onnx"], 3)]
    assert [path.name for path in (folder / "out" / ".rules" / "a").iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("url", ["s3://bucket/m/words.onnx", "s3://bucket/deep/words"])
def test_what_is_at_a_url_is_fetched_before_and_once(folder: Path, url: str) -> None:
    targets = ["onnxruntime", "torchscript"]
    zoo = zoo_of(folder, [{"name": "w", "path": url, "targets": targets}])
    rules(folder, zoo)
    there = path_of(Path("out"), url)
    fetch, *compiles = make(folder, "zoo")
    assert fetch == ["zoo", "fetch", "zoo.yaml", "-o", "out", "--only", "w"]
    assert {each[1] for each in compiles} == {f"w={there}"}
    assert len(compiles) == 2
    assert there.parts[:2] == ("out", ".sources")


def test_a_store_that_the_zoo_names(folder: Path) -> None:
    rules(folder, zoo_of(folder, [{"name": "a", "path": "a.onnx"}], store="s3://bucket/zoo"))
    assert [parsed(each)["store"] for each in make(folder, "zoo")] == ["s3://bucket/zoo"]


def test_other_folders_are_named_as_a_whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    zoo = zoo_of(elsewhere, [{"name": "a", "path": "a.onnx"}])
    rules(folder, zoo, str(elsewhere / "out"))
    (asked,) = make(folder, "zoo")
    assert parsed(asked)["models"] == [f"a={elsewhere / 'a.onnx'}"]
    assert parsed(asked)["output"] == elsewhere / "out" / "a" / "onnxruntime-fp32"


@pytest.mark.parametrize("name", ["a;b.onnx", "a=b.onnx", "a\tb.onnx", "a|b.onnx", "a\nb.onnx"])
def test_a_name_that_make_cannot_read(folder: Path, name: str) -> None:
    zoo = zoo_of(folder, [{"name": "a", "path": name}])
    with pytest.raises(UsageError, match="is a name that make cannot read") as caught:
        make_rules(zoo, Path("out"), Path)
    assert caught.value.problems[0].subject == name
    assert not (folder / "out").exists()


def test_a_folder_that_cannot_be_written(folder: Path) -> None:
    zoo = zoo_of(folder, [{"name": "a", "path": "a.onnx"}])
    (folder / "out").touch()
    with pytest.raises(UsageError, match="cannot be written: Not a directory"):
        make_rules(zoo, Path("out"), Path)
