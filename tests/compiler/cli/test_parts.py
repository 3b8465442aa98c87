"""Models in parts, from the command line: what is compiled, what counts for up to date, what make is told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from artifacts.bundle import Bundle
from artifacts.errors import BundleError
from artifacts.runtime import Session
from compiler.options import ModelFile
from tests.support import parts
from tests.support.cli import unspool
from tests.support.models import saved

TOKENS = ("--bos", "1", "--eos", "2", "--pad", "0", "--max-length", "6")


def greedy(inputs: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.int64]]]) -> list[list[int]]:
    """Tokens of each row, from the numpy scores."""
    rows = []
    for row in range(len(inputs["input_ids"])):
        tokens = [1]
        while len(tokens) <= 6 and tokens[-1] != 2:
            one = {name: array[row : row + 1] for name, array in inputs.items()} | {
                "decoder_input_ids": np.array([tokens])
            }
            tokens.append(int(parts.scores(one)[0, -1].argmax()))
        rows.append(tokens[1:])
    return rows


def test_a_folder_and_its_parts(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The life of a model in parts: compiled, decoding, up to date, verified, made anew when a part changes."""
    folder = parts.written(tmp_path / "words", past=parts.with_past())
    (folder / "generation_config.json").write_text(
        json.dumps({"decoder_start_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "max_new_tokens": 6})
    )
    out, rule = tmp_path / "out", tmp_path / "out.d"
    document = unspool(capsys, "compile", folder, "-o", out, "--depfile", rule, "--json").document
    assert document["ok"], document["errors"]
    assert document["models"]["words"]["kind"] == "decode"
    first = rule.read_text().splitlines()[0]
    assert all(str(folder / name) in first for name in (*parts.NAMES.values(), "generation_config.json"))

    inputs = {name: array for name, array in parts.requests(3, 6, 1).items() if name != "decoder_input_ids"}
    with Session.open(out) as session:
        found = session.run(inputs)
    lengths = found["lengths"].tolist()
    assert [row[:length] for row, length in zip(found["tokens"].tolist(), lengths, strict=True)] == greedy(inputs)

    by_role = [
        f"--part={role}={folder / name}"
        for role, name in zip(("encoder", "decoder", "decoder-with-past"), parts.NAMES.values(), strict=True)
    ]
    other = unspool(capsys, "compile", *by_role, "--name", "text", "-o", tmp_path / "other", "--json").document
    assert list(other["models"]) == ["text"]
    assert _source(out) == _source(tmp_path / "other"), "however the parts are named, it is one model"
    shown = unspool(capsys, "inspect", folder, "--json").document
    assert shown["digest"] == _source(out)
    assert [spec["name"] for spec in shown["signature"]["inputs"]] == [
        "input_ids",
        "attention_mask",
        "decoder_input_ids",
    ]

    assert "up to date" in unspool(capsys, "compile", folder, "-o", out).stdout
    assert unspool(capsys, "verify", out, "--against", folder).status == 0

    proto = onnx.load_model(folder / parts.NAMES["with_past"])
    proto.graph.initializer[0].raw_data = bytes(len(proto.graph.initializer[0].raw_data))
    saved(proto, folder / parts.NAMES["with_past"])
    failed = unspool(capsys, "compile", folder, "-o", out, "--force", "--json")
    assert failed.status == 1
    assert failed.document["errors"][0]["subject"] == "decoder_with_past_model.onnx"


def _source(bundle: Path) -> str:
    (entry,) = Bundle.open(bundle).manifest.models.values()
    return entry.source


def test_a_model_in_parts_has_a_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = parts.written(tmp_path / "words")
    by_role = [f"--part={role}={folder / parts.NAMES[role]}" for role in ("encoder", "decoder")]
    asked: list[list[str]] = []

    def noted(models: list[ModelFile], *_: object, **more: object) -> None:
        asked.append([model.name for model in models])
        raise BundleError.of("bundle", "out", "is not made in this test")

    monkeypatch.setattr("compiler.compile.compile_bundle", noted)
    other = saved(parts.encoder(), tmp_path / "other.onnx")
    for arguments in ((), ("--name", "words-1.0"), ("--name", "words", other)):
        assert unspool(capsys, "compile", *by_role, *arguments, "-o", tmp_path / "out").status == 1
    assert asked == [["model"], ["words-1.0"], ["other", "words"]]


@pytest.mark.parametrize("name", ["", "-x", "../x", "a b", "a=b", ".", "é"])
def test_a_name_that_is_none(capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str) -> None:
    folder = parts.written(tmp_path / "words")
    by_role = [f"--part={role}={folder / parts.NAMES[role]}" for role in ("encoder", "decoder")]
    found = unspool(capsys, "compile", *by_role, f"--name={name}", "-o", tmp_path / "out", "--json")
    assert (found.status, found.error["subject"]) == (2, f"--name {name}")
    assert found.error["message"] == "is no name of a model"


def test_a_name_is_of_parts(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = unspool(capsys, "compile", tmp_path / "m.onnx", "--name", "words", "-o", tmp_path / "out", "--json")
    assert (found.status, found.error["subject"]) == (2, "--name words")
    assert "NAME=MODEL.onnx" in found.error["hint"]


def test_nothing_to_compile(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = unspool(capsys, "compile", "-o", tmp_path / "out", "--json")
    assert found.status == 2
    assert "nothing to compile" in found.error["message"]
