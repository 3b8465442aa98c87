"""The nine real networks that the onnx package carries, compiled by the command line and run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from artifacts.bundle import Bundle
from artifacts.runtime import Session
from tests.support.cli import unspool
from tests.support.light_networks import NAMES, expected_output, light_input, light_network, randomized
from tests.support.models import BundleCache, normal, saved, source_outputs

FILLS = [pytest.param(name, marks=() if name == "squeezenet" else pytest.mark.slow) for name in NAMES]
RANDOM = [
    "shufflenet",
    "squeezenet",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("densenet121", "inception_v2", "resnet50")),
]


def compiled(capsys: pytest.CaptureFixture[str], cache: BundleCache, name: str, model: Path) -> Path:
    def make(bundle: Path) -> None:
        found = unspool(capsys, "compile", f"net={model}", "-o", bundle, "--require", "verified")
        assert found.status == 0, found.stderr

    return cache.get(name, make)


@pytest.mark.parametrize("name", FILLS)
def test_a_network_gives_the_output_that_comes_with_it(
    capsys: pytest.CaptureFixture[str], cache: BundleCache, name: str
) -> None:
    bundle = compiled(capsys, cache, f"{name}-fills", light_network(name))
    assert unspool(capsys, "verify", bundle).status == 0
    with Session.open(bundle, verify=False) as session:
        (image,) = session.signature.inputs
        (output,) = session.signature.outputs
        shape = tuple(int(size) for size in image.shape)
        found = session.run({image.name: light_input(shape)})[output.name]
    np.testing.assert_allclose(found, expected_output(name), rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("name", FILLS)
def test_fills_are_stored_once_and_small(capsys: pytest.CaptureFixture[str], cache: BundleCache, name: str) -> None:
    """A weight of one value is its shape and the value: half a gigabyte of them stays the file it was."""
    bundle = compiled(capsys, cache, f"{name}-fills", light_network(name))
    size = sum(shard.bytes for shard in Bundle.open(bundle, verify=False).manifest.weights.shards)
    assert size < 1_000_000


@pytest.mark.parametrize("name", RANDOM)
def test_a_network_with_random_weights_answers_as_its_source(
    capsys: pytest.CaptureFixture[str], cache: BundleCache, tmp_path: Path, name: str
) -> None:
    """Where every weight counts: in a network of fills, kernels can be swapped and nobody sees it."""
    model = saved(randomized(name), tmp_path / "net.onnx")
    bundle = compiled(capsys, cache, f"{name}-random", model)
    with Session.open(bundle, verify=False) as session:
        (image,) = session.signature.inputs
        inputs = {image.name: normal(*(int(size) for size in image.shape), seed=5)}
        found = session.run(inputs)
    for output, expected in source_outputs(model, inputs).items():
        assert expected.std() > 0.1 * np.abs(expected).mean(), "an even output would hide what is wrong"
        np.testing.assert_allclose(found[output], expected, rtol=2e-3, atol=1e-7)
