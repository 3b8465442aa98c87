"""A sample of what `make fuzz` does at length, with the driver and the worker that it has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.fuzz.__main__ import TRIALS_APART, bundles_of, run

FEW = {"model": 16, "bundle": 30, "archive": 20}
MORE = {"model": 40, "bundle": 60, "archive": 40}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return bundles_of(["decoder"], tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize(
    "counts",
    [FEW, pytest.param(MORE, marks=pytest.mark.slow)],  # a minute; `make fuzz` takes an hour
    ids=["few", "more"],
)
def test_damage_gives_one_clear_error_or_does_no_harm(
    bundle: list[Path], tmp_path: Path, counts: Mapping[str, int]
) -> None:
    trials = [
        {"subject": subject, "seed": TRIALS_APART + number}
        for subject, count in counts.items()
        for number in range(count)
    ]
    found = list(run(trials, tmp_path, bundle, workers=1))
    assert [verdict for verdict in found if verdict["end"] == "defect"] == []
    # Damage that nothing notices would be no damage.
    for subject, count in counts.items():
        ends = [verdict["end"] for verdict in found if verdict["trial"]["subject"] == subject]
        assert len(ends) == count
        assert ends.count("refused") > count / 2
    assert {verdict["end"] for verdict in found} == {"refused", "compiled", "harmless"}


def test_a_trial_that_takes_its_process_along_is_a_defect_and_the_next_one_runs(tmp_path: Path) -> None:
    """No bundle to damage: that trial fails before it begins."""
    broken, sound = {"subject": "bundle", "seed": 0}, {"subject": "model", "seed": 1}
    found = {verdict["trial"]["subject"]: verdict for verdict in run([broken, sound], tmp_path, [], workers=1)}
    assert found["bundle"]["end"] == "defect"
    assert "IndexError" in found["bundle"]["detail"]
    assert found["model"]["end"] != "defect"
