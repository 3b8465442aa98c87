"""The folder of a tuning: what is written into it is what is read from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from artifacts.neuron_options import NeuronOptions
from compiler.neuron.tuning.work import Attempt, Outcome, Schedule, Work

DIGEST = "0" * 64


@pytest.mark.parametrize("engine", ["bert", "ocr.step", "bert@1x64", "toy@4x64.encoder"])
def test_engines_go_by_their_names_those_of_buckets_too(engine: str, tmp_path: Path) -> None:
    work = Work(tmp_path / "work")
    schedule = Schedule(engines={engine: DIGEST}, sets=(NeuronOptions(optlevel=3),))
    attempt = Attempt(source=DIGEST, command="neuronx-cc compile", compiler="2.27", environment="")
    outcome = Outcome(attempt=attempt, engine=engine, end="compiled", seconds=1.5, limit=60, neff_bytes=7)
    assert work.schedule() is None
    assert work.outcome(attempt) is None
    work.write(schedule)
    work.record(outcome)
    assert work.schedule() == schedule
    assert work.outcome(attempt) == outcome
