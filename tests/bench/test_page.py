from __future__ import annotations

from tests.bench.figures import Figure
from tests.bench.page import Conditions, Measured, document, page, read_document
from tests.bench.peers.test_contest import contest

CONDITIONS = Conditions("2026-01-02", "A processor", 2, "Linux x86_64", 0.5, {"numpy": "2"})


def test_a_document_is_read_as_it_was_written() -> None:
    parts = {
        "speed": Measured(CONDITIONS, (Figure("a call", 0.5, "x", 1.0, "1 ms against 2 ms"),)),
        "peers": Measured(CONDITIONS, (), (contest(),)),
    }
    written = document(parts)
    assert read_document(written) == parts
    assert written.count('"contests"') == 1


def test_the_page_has_the_table_of_a_contest_and_its_figures() -> None:
    parts = {"peers": Measured(CONDITIONS, (Figure("cells", 1, "cells", 0),), (contest(),))}
    found = page(parts)
    assert "## Against peers" in found
    assert "| small, batch 1, 16 tokens, ms | 20.0 | 40.0 | 16.0 | 19.0 | 4.00 |" in found
    assert "| cells | 1 cells | 0 cells | missed |  |" in found
