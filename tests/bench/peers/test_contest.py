from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict

import pytest

from compiler.decode_plan import DEFAULT_DRAFT
from tests.bench.peers.contest import Cell, Contest, slower_cells
from tests.bench.peers.contestants import CTRANSLATE2, CTRANSLATE2_INT8, FLOOR, NUMPY_LOOP, OURS, OURS_INT8
from tests.bench.peers.models import GUESSES, model_named

# Milliseconds for 16, 48 and 75 tokens: what comes before the first one, and 1, 0.5, 2 or 0.25 for each.
TIMES: Mapping[str, tuple[float, float, float]] = {
    OURS.name: (20, 52, 79),
    CTRANSLATE2.name: (16, 32, 45.5),
    NUMPY_LOOP.name: (40, 104, 158),
    CTRANSLATE2_INT8.name: (19, 51, 78),
    FLOOR.name: (4, 12, 18.75),
}
INT8 = {OURS_INT8.name: (21.0, 50.0, 77.0)}


def contest(model: str = "small", further: Mapping[str, tuple[float, float, float]] | None = None) -> Contest:
    """One of made-up times, the same with one row and with eight."""
    times = {**TIMES, **(further or {})}
    cells = tuple(
        Cell(tokens, rows, {name: row[place] / 1e3 for name, row in times.items()})
        for rows in (1, 8)
        for place, tokens in enumerate((16, 48, 75))
    )
    return Contest(
        model, cells, {CTRANSLATE2_INT8.name: 0.875}, {OURS.name: 123_000_000}, {"ctranslate2": "4.8.5"}, ("a remark",)
    )


def test_a_contest_survives_json() -> None:
    assert Contest.of(json.loads(json.dumps(asdict(contest())))) == contest()


def test_the_time_of_a_token_leaves_the_encoder_out() -> None:
    assert contest().token_seconds(OURS) == pytest.approx(1e-3)
    assert contest().token_seconds(CTRANSLATE2) == pytest.approx(0.5e-3)


def test_a_step_of_the_large_model_reads_what_its_matrices_have() -> None:
    model = model_named("marian")
    # Six matrices of 512 x 512 and two of 512 x 2048 in each of six layers; 32000 rows of 512.
    body, head = 6 * (6 * 512 * 512 + 2 * 512 * 2048), 32000 * 512
    assert model.step_bytes("float32") == 4 * (body + head) == 153_616_384
    assert model.step_bytes("bfloat16") == 76_808_192
    assert model.step_bytes("int8") == 38_404_096
    assert model.step_bytes("two-stage") == 4 * body + head + 32000 * 16
    assert model.step_bytes("drafted") == (5 * 38_404_096 + 4 * body + head + 32000 * 16) // 6
    assert GUESSES == DEFAULT_DRAFT
    assert model.is_in_memory
    assert not model_named("small").is_in_memory


def test_the_roofline_is_that_of_the_bytes_that_are_read() -> None:
    found = contest("marian")
    assert found.roofline(NUMPY_LOOP) == pytest.approx(0.25 / 2)
    assert found.roofline(OURS) == pytest.approx(0.25 * 49_499_477 / 153_616_384)
    assert found.roofline(CTRANSLATE2_INT8) == pytest.approx(0.25 / 4)
    assert found.bytes_per_second == pytest.approx(153_616_384 / 0.25e-3)


@pytest.mark.parametrize("further", [{}, INT8])
def test_a_peer_is_slower_or_told(further: Mapping[str, tuple[float, float, float]]) -> None:
    found = [(each.cell.tokens, each.cell.rows, each.ours, each.peer) for each in slower_cells(contest("t5", further))]
    exact = {(tokens, rows, OURS, CTRANSLATE2) for tokens in (16, 48, 75) for rows in (1, 8)}
    # One that computes in int8 is compared with ours in int8, where there is that.
    less = [(16, OURS_INT8)] if further else [(tokens, OURS) for tokens in (16, 48, 75)]
    assert set(found) == exact | {(tokens, rows, ours, CTRANSLATE2_INT8) for tokens, ours in less for rows in (1, 8)}
    assert len(found) == len(set(found))
    assert next(slower_cells(contest())).ratio == pytest.approx(20 / 16)
