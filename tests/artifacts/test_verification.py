from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from artifacts.bundle import Bundle
from artifacts.checks import Tolerances
from artifacts.samples import Sample
from artifacts.verification import check_bundle
from tests.support import bundles
from tests.support.decoders import FORMS, Form, counting, greedy

X = np.random.default_rng(4).normal(size=(5, 4)).astype(np.float32)


def answered(shift: float = 0.0) -> Sample:
    weights = bundles.linear(seed=1).functions["main"].weights
    return Sample({"x": X}, {"y": X @ weights["w"] + weights["b"] + np.float32(shift)})


def test_a_model_is_held_to_the_answers_of_its_samples(linear_bundle: Bundle) -> None:
    samples = {"one": [answered(), answered(shift=0.5)]}
    checks = check_bundle(linear_bundle, samples, Tolerances())
    assert [(check.model, check.sample, check.output, check.comparison.passed) for check in checks] == [
        ("one", 0, "y", True),
        ("one", 1, "y", False),
    ]
    assert all(check.comparison.passed for check in check_bundle(linear_bundle, samples, Tolerances.of(1.0, None)))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("columns", [12, 3])
@pytest.mark.parametrize("wrong", [False, True])
def test_a_decoder_is_held_to_as_many_tokens_as_the_sample_has(
    decoder_bundle: Bundle, form: Form, columns: int, wrong: bool
) -> None:
    tokens, lengths = greedy(X)
    tokens = tokens[:, :columns].copy()
    tokens[-1, -1] += wrong
    sample = Sample({"x": X}, {}, {"tokens": tokens, "lengths": np.minimum(lengths, columns)})
    checks = check_bundle(decoder_bundle, {form: [sample]}, Tolerances())
    assert {check.output: check.comparison.passed for check in checks} == {"tokens": not wrong, "lengths": True}


def test_a_step_that_is_the_whole_source_is_also_compared_on_given_tokens(tmp_path: Path) -> None:
    bundle = bundles.write(tmp_path / "b", {"m": counting()})
    tokens = np.array([[3, 1, 4]])
    logits = np.eye(9, dtype=np.float32)[tokens + 1]
    for shift, passed in ((0.0, True), (0.5, False)):
        sample = Sample({"tokens": tokens}, {"logits": logits + np.float32(shift)})
        (check,) = check_bundle(bundle, {"m": [sample]}, Tolerances())
        assert (check.output, check.comparison.passed) == ("logits", passed)
