"""Damaged NEFFs by the thousand: each is read, or refused with one clear error, soon and in little memory."""

from __future__ import annotations

import time
import tracemalloc
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from artifacts.errors import BundleError
from artifacts.neff import read_neff
from artifacts.traced import read_traced
from tests.fuzz.neff_mutations import damaged_neff
from tests.fuzz.trial import LONGEST_MESSAGE, listing
from tests.support.neff import TRACED_NAME

QUICK, LONG = 400, 10_000
SECONDS = 5.0
MEMORY = 32 << 20


def ends(seeds: range, folder: Path) -> Counter[str]:
    """How the reading of so many damaged files ended. Any other error than the documented one is raised."""
    counts: Counter[str] = Counter()
    inside = folder / "inside"
    inside.mkdir()
    tracemalloc.start()
    try:
        for seed in seeds:
            path, done = damaged_neff(Random(f"neff:{seed}"), inside)
            before = listing(folder)
            tracemalloc.reset_peak()
            began = time.process_time()
            try:
                found = read_traced(path) if path.name == TRACED_NAME else read_neff(path)
                assert found, (seed, done)
                counts["read"] += 1
            except BundleError as error:
                counts["refused"] += 1
                for problem in error.problems:
                    assert problem.stage == "neff", (seed, done)
                    assert problem.subject.startswith(str(path)), (seed, done)
                    assert problem.message, (seed, done)
                    assert problem.hint, (seed, done)
                    assert len(str(problem)) < LONGEST_MESSAGE, (seed, done)
            assert time.process_time() - began < SECONDS, (seed, done)
            assert tracemalloc.get_traced_memory()[1] < MEMORY, (seed, done)
            assert listing(folder) == before, (seed, done)
            path.unlink()
    finally:
        tracemalloc.stop()
    return counts


def test_damage_is_refused_or_does_no_harm(tmp_path: Path) -> None:
    counts = ends(range(QUICK), tmp_path)
    assert counts.total() == QUICK
    # Damage that nothing notices would be no damage, and a reader that refuses everything no reader.
    assert counts["refused"] > QUICK / 2
    assert counts["read"] > QUICK / 50


@pytest.mark.slow  # ten thousand files
def test_more_damage_is_refused_or_does_no_harm(tmp_path: Path) -> None:
    assert ends(range(QUICK, QUICK + LONG), tmp_path)["refused"] > LONG / 2
