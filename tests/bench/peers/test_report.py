from __future__ import annotations

from dataclasses import replace

from tests.bench.peers.contestants import CTRANSLATE2, NUMPY_LOOP, OURS
from tests.bench.peers.report import section, slower, table
from tests.bench.peers.test_contest import INT8, contest

TABLE = """\
|  | Unspool | ONNX Runtime, numpy loop | CTranslate2 | CTranslate2 int8 | reading alone |
| --- | --- | --- | --- | --- | --- |
| small, batch 1, 16 tokens, ms | 20.0 | 40.0 | 16.0 | 19.0 | 4.00 |
| small, batch 1, 48 tokens, ms | 52.0 | 104 | 32.0 | 51.0 | 12.0 |
| small, batch 1, 75 tokens, ms | 79.0 | 158 | 45.5 | 78.0 | 18.8 |
| small, batch 8, 16 tokens, ms | 20.0 | 40.0 | 16.0 | 19.0 | 4.00 |
| small, batch 8, 48 tokens, ms | 52.0 | 104 | 32.0 | 51.0 | 12.0 |
| small, batch 8, 75 tokens, ms | 79.0 | 158 | 45.5 | 78.0 | 18.8 |
| small, batch 1, one more token, ms | 1.00 | 2.00 | 0.50 | 1.00 | 0.25 |
| small, share of the roofline in float32 | 25% | 12% | 50% | 25% | 100% |
| small, share of its own roofline | 8% | 12% | 50% | 6% | 100% |
| small, tokens as without loss |  |  |  | 87.5% |  |
| small, memory at its peak, MB | 123 |  |  |  |  |"""


def test_the_table_of_a_contest() -> None:
    assert table([contest()]) == TABLE


def test_who_took_part_in_one_contest_has_a_column_in_all() -> None:
    head, _, *lines = table([contest(), contest("t5", INT8)]).splitlines()
    assert head.startswith("|  | Unspool | Unspool int8 | ONNX Runtime, numpy loop |")
    assert {line.count("|") for line in lines} == {8}
    assert lines[0] == "| small, batch 1, 16 tokens, ms | 20.0 |  | 40.0 | 16.0 | 19.0 | 4.00 |"
    assert lines[11] == "| T5 60M, batch 1, 16 tokens, ms | 20.0 | 21.0 | 40.0 | 16.0 | 19.0 | 4.00 |"


def test_where_a_peer_is_faster_is_told() -> None:
    first, _, line, *_ = slower([contest()]).splitlines()
    assert first == "A peer is faster here:"
    assert line == ("- small, batch 1, 16 tokens: CTranslate2 takes 16.0 ms, Unspool 20.0 ms, 1.25 times as long")
    ours = OURS.name
    cells = tuple(
        replace(cell, seconds={name: cell.seconds[name] for name in (ours, NUMPY_LOOP.name)})
        for cell in contest().cells
    )
    assert slower([replace(contest(), cells=cells)]) == "Nowhere in the table is a peer faster."


def test_the_section_says_what_the_table_does_not() -> None:
    found = section([contest()])
    assert "Versions of the peers: ctranslate2 4.8.5." in found
    assert "small: a remark." in found
    assert "Unspool int8 is not here" in found
    assert "is not here" not in section([contest(further=INT8)])
    assert CTRANSLATE2.title in found
