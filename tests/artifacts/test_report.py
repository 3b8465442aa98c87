from __future__ import annotations

import json
import math

import numpy as np
import pytest

from artifacts.report import BuildReport, EngineSize, Movement, OutputNumerics, StageTime, WeightsReport
from artifacts.tolerances import EXACT, Tolerance, compare
from tests.support.bundles import REPORT


def test_a_report_survives_its_file() -> None:
    comparison = compare(np.array([1.0]), np.array([1.5]), Tolerance(atol=1.0, rtol=0.0))
    report = REPORT.model_copy(
        update={
            "stages": (StageTime(name="convert", seconds=0.25),),
            "numerics": (OutputNumerics.of("m", "fold-constants", "y", comparison),),
            "engines": (EngineSize(name="m-main", source_bytes=10),),
            "weights": WeightsReport(source_bytes=20, unique_bytes=8, merged=1),
            "movements": (Movement(function="m", after="convert", operators=2, bytes=16),),
            "log": ("a line",),
        }
    )
    assert BuildReport.model_validate_json(report.to_bytes()) == report
    assert json.loads(report.to_bytes())["numerics"][0]["required"] == 0.5


@pytest.mark.parametrize("actual", [math.nan, 1.0])
def test_an_infinite_measure_is_null_in_json(actual: float) -> None:
    numerics = OutputNumerics.of("m", "p", "y", compare(np.array([0.0]), np.array([actual]), EXACT))
    assert numerics.required is None
    assert not numerics.passed
    assert b"Infinity" not in REPORT.model_copy(update={"numerics": (numerics,)}).to_bytes()
