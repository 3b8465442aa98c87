from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from artifacts.runtime import Session
from compiler.compile import compile_bundle
from compiler.generation import TokenFlags
from compiler.options import CompileOptions, ModelFile
from tests.bench.peers.prepare import shortened
from tests.support.models import BundleCache, saved, toy_decoder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder of nine tokens at most."""
    file = saved(toy_decoder(), tmp_path_factory.mktemp("toy") / "toy.onnx")
    options = CompileOptions(tokens=TokenFlags(start=1, eos=(1,), pad=0, max_new_tokens=9))
    cache = BundleCache.of(tmp_path_factory)
    return cache.get("toy-nine", lambda path: compile_bundle([ModelFile("toy", file)], path, options))


def test_a_shortened_bundle_writes_the_first_tokens(bundle: Path, tmp_path: Path) -> None:
    manifest = (bundle / "manifest.json").read_bytes()
    folder = tmp_path / "short"
    for _ in range(2):  # over what is there, too
        shortened(bundle, folder, 2)
    with Session.open(bundle) as whole, Session.open(folder) as short:
        inputs = {
            spec.name: np.ones([2 if isinstance(d, str) else d for d in spec.shape], spec.dtype.numpy)
            for spec in whole.signature.inputs
        }
        expected = whole.run(inputs)["tokens"]
        assert expected.shape[1] > 2
        np.testing.assert_array_equal(short.run(inputs)["tokens"], expected[:, :2])
    assert (bundle / "manifest.json").read_bytes() == manifest
