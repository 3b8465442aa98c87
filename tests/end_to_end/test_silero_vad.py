"""Silero VAD, which tells voices from other sounds: an If over two sampling rates, an LSTM, state in and out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from artifacts.runtime import Session
from tests.support.models import PROJECT, Array, BundleCache, largest_error, normal, source_outputs
from tests.support.voice import other_sounds, voice

pytestmark = pytest.mark.slow

FOLDER = PROJECT / "build" / "models" / "silero_vad" / "data"
"""The folder of the files, which `make models` fills."""

FILES = {"silero_vad": (16000, 8000), "silero_vad_op18_ifless": (16000, 8000), "silero_vad_16k_op15": (16000,)}
"""The sampling rates that each was trained for; both take both."""

RATES = {16000: (512, 64), 8000: (256, 32)}
"""Samples of a window, and of the window before it that are given again; by samples a second."""


def source(name: str) -> Path:
    return FOLDER / f"{name}.onnx"


@pytest.fixture(params=FILES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def bundle(cache: BundleCache, name: str) -> Path:
    return cache.compiled(name, source(name))


def chances(bundle: Path, sound: Array, rate: int) -> Array:
    """How likely each window of a sound [samples] holds a voice, float32 [windows]."""
    size, context = RATES[rate]
    state, before = np.zeros((2, 1, 128), np.float32), np.zeros(context, np.float32)
    found = []
    with Session.open(bundle, verify=False) as session:
        for begin in range(0, len(sound) - size + 1, size):
            window = sound[begin : begin + size]
            inputs = {"input": np.concatenate([before, window])[None], "state": state, "sr": np.array(rate)}
            outputs = session.run(inputs)
            state, before = outputs["stateN"], window[-context:]
            found.append(outputs["output"].item())
    return np.array(found)


def test_it_answers_as_its_source(bundle: Path, name: str) -> None:
    error = largest_error(bundle)
    print(f"{name}: largest error {error:.3g}")
    assert error < 1e-4


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("batch", [1, 3])
def test_both_sampling_rates_answer_as_in_the_source(bundle: Path, name: str, rate: int, batch: int) -> None:
    """One rate is the one that the samples of a compilation take; the other is in the branch that they do not."""
    inputs = {
        "input": 0.1 * normal(batch, sum(RATES[rate]), seed=rate),
        "state": 0.1 * normal(2, batch, 128, seed=batch),
        "sr": np.array(rate),
    }
    with Session.open(bundle, verify=False) as session:
        found = session.run(inputs)
    for output, expected in source_outputs(source(name), inputs).items():
        np.testing.assert_allclose(found[output], expected, atol=1e-5)


def test_a_voice_is_told_from_other_sounds(bundle: Path, name: str) -> None:
    for rate in FILES[name]:
        assert np.median(chances(bundle, voice(rate), rate)) > 0.5
        for what, sound in other_sounds(rate).items():
            assert chances(bundle, sound, rate).max() < 0.2, what
