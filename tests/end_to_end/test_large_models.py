"""Models of more than 2 GiB, which no protobuf message holds and no signed 32-bit offset reaches the end of."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from artifacts.runtime import Session
from tests.support.cli import unspool as unspool_here
from tests.support.commands import unspool
from tests.support.large_model import NBYTES, TABLE, expected, filled_rows, large_model

pytestmark = pytest.mark.slow

LARGEST_OFFSET = (1 << 31) - 1


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that does not outlive the test: pytest would keep the gigabytes of three runs."""
    yield tmp_path
    shutil.rmtree(tmp_path)


def test_a_model_of_more_than_2_gib_compiles_verifies_and_answers(folder: Path) -> None:
    model, bundle = large_model(folder / "source"), folder / "bundle"
    samples = folder / "samples.npz"
    np.savez(samples, ids=filled_rows(6).reshape(2, 3))
    compiled = unspool("compile", model, "-o", bundle, "--samples", samples, "--require", "verified")
    verified = unspool("verify", bundle, "--against", model)
    print(f"peak memory over {NBYTES} bytes of weights: compile {compiled.peak_bytes}, verify {verified.peak_bytes}")
    # Pages of a mapped file count: those of every weight once, and some room for the imports and the products.
    assert compiled.peak_bytes < 1.5 * NBYTES
    assert verified.peak_bytes < NBYTES

    ids = filled_rows(8).reshape(4, 2)
    row = TABLE.nbytes // TABLE.shape[0]
    assert ids.min() * row < LARGEST_OFFSET < ids.max() * row
    with Session.open(bundle, verify=False) as session:
        found = session.run({"ids": ids})["y"]
    answer = expected(model.parent, ids)
    assert (answer.std(-1) > 0.01).all(), "rows of zeros would tell nothing"
    np.testing.assert_allclose(found, answer, rtol=1e-4, atol=1e-5)


def test_onnx2torch_is_not_asked_for_more_than_2_gib(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    model = large_model(folder / "source")
    found = unspool_here(capsys, "compile", model, "-o", folder / "bundle", "--converter", "onnx2torch", "--json")
    assert found.status == 1
    assert found.error["message"] == f"has {NBYTES} bytes of weights, and onnx2torch takes models of at most 2 GiB"
