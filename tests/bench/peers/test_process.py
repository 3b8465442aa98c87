from __future__ import annotations

from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

from tests.bench.peers.contestants import FLOOR, OURS
from tests.bench.peers.models import model_named
from tests.bench.peers.process import Process
from tests.bench.peers.protocol import Order

SMALL = model_named("small")


def test_a_process_answers_every_order(tmp_path: Path) -> None:
    with Process(FLOOR, SMALL, tmp_path) as process:
        assert process.versions == {"numpy": metadata.version("numpy")}
        few, many = (process.ask(Order(tokens, 1)) for tokens in (1, 200))
        assert few.tokens == ()
        assert 0 < few.seconds < many.seconds
        assert process.peak_bytes > SMALL.step_bytes("float32")


def test_a_process_that_fails_says_why(tmp_path: Path) -> None:
    with Process(OURS, SMALL, tmp_path) as process, pytest.raises(RuntimeError, match="unspool-fp32-16"):
        process.ask(Order(16, 1))
    with pytest.raises(RuntimeError, match="StopIteration"):
        Process(FLOOR, replace(SMALL, name="none"), tmp_path)
