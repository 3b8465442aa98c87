from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from artifacts.runtime import Session
from examples.ocr import demo
from examples.ocr.demo import ALPHABET, counted, drawing, read_lines, show_some, text_of
from tests.support.models import OCR, Array


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ([3, 12, 13, 38, 2, 0, 0], "09az"),
        ([13, 14, 2, 15], "ab"),
        ([13, 14], "ab"),
        ([2], ""),
        ([], ""),
        ([0, 1, 13, 39, -1, 2], "??a??"),
    ],
)
def test_the_text_of_tokens(tokens: list[int], text: str) -> None:
    assert text_of(np.array(tokens, np.int64)) == text
    assert text_of(np.array(tokens, np.int32)) == text


def test_the_alphabet_is_what_the_model_knows() -> None:
    assert len(set(ALPHABET)) == len(ALPHABET) == 36
    with np.load(OCR / "eval.npz") as lines:
        texts = [text_of(row) for row in lines["targets"]]
    assert all(texts)
    assert set("".join(texts)) == set(ALPHABET)


def test_a_drawing_has_two_pixels_in_a_character() -> None:
    image = np.array([[0.0, 1.0, 0.0, 1.0], [0.0, 0.0, 1.0, 1.0], [0.5, 0.4, 0.3, 0.41], [0, 0, 0, 0.5]])
    assert drawing(image) == [" ▀▄█", "▀  █"]


def test_counting_says_now_and_then_how_far_it_is_where_there_is_no_terminal() -> None:
    printed = io.StringIO()
    assert list(counted(130, Console(file=printed))) == list(range(130))
    assert printed.getvalue().split("\n") == ["  64 of 130 lines read", "  128 of 130 lines read", ""]


def test_counting_draws_a_bar_in_a_terminal() -> None:
    printed = io.StringIO()
    assert list(counted(3, Console(file=printed, force_terminal=True))) == [0, 1, 2]
    assert "Reading" in printed.getvalue()


class Fake:
    """A session that knows its answer."""

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        assert inputs["image"].shape == (1, 1, 16, 320)
        tokens = np.array([[13, int(inputs["image"].max()), 2, 0]])
        return {"tokens": tokens, "lengths": np.array([3])}


def test_lines_are_read_one_by_one() -> None:
    images = np.stack([np.full((1, 16, 320), value, np.float32) for value in (14, 15)])
    texts, seconds = read_lines(Fake(), images, Console(file=io.StringIO()))  # type: ignore[arg-type]  # it has what is used
    assert texts == ["ab", "ac"]
    assert len(seconds) == 2
    assert min(seconds) > 0


def test_some_lines_are_shown_beside_what_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    known = ["short", "justright9", "also0right", "x" * 40]
    show_some(np.zeros((4, 1, 16, 320), np.float32), known, ["?", "justright9", "also0wrong", "?"])
    shown = capsys.readouterr().out
    assert "Line 1 as the model gets it" in shown
    assert "j   u   s   t" in shown
    assert "also0right          also0wrong" in shown
    assert "short" not in shown


@pytest.mark.parametrize(("wrong", "status"), [(0, 0), (1, 1)])
def test_the_demo_fails_unless_every_line_is_exact(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wrong: int, status: int
) -> None:
    """With a compiler and a session of paper: the real ones are what `make demo` runs."""
    tokens = np.array([[13, 14, 15, 16, 17, 18, 19, 20, 2, 0]] * 3)
    np.savez(tmp_path / "eval.npz", images=np.zeros((3, 1, 16, 320), np.float16), targets=tokens)
    answers = iter([*tokens[: 3 - wrong], *tokens[:wrong, ::-1]])

    class Paper:
        def run(self, _: dict[str, Array]) -> dict[str, Array]:
            row = next(answers)
            return {"tokens": row[None], "lengths": np.array([len(row)])}

    class Done:
        returncode = 0

    monkeypatch.setattr(subprocess, "run", lambda *_, **__: Done())
    monkeypatch.setattr(Session, "open", lambda _: Paper())
    monkeypatch.setattr(sys, "argv", ["demo.py", "--model", str(tmp_path), "--output", str(tmp_path / "out")])
    assert demo.main() == status
    shown = capsys.readouterr().out
    assert f"{3 - wrong} of 3 lines exact" in shown
    assert f"The bundle is in {tmp_path / 'out'}" in shown
    assert ("is wrong" in shown) == bool(wrong)


def test_the_demo_ends_where_the_compiler_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Failed:
        returncode = 3

    monkeypatch.setattr(subprocess, "run", lambda *_, **__: Failed())
    monkeypatch.setattr(sys, "argv", ["demo.py", "--model", str(tmp_path)])
    assert demo.main() == 3
