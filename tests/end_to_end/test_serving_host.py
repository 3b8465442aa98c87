"""A host that serves: a bundle that was copied there, and neither torch nor onnx."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from artifacts.samples import read_arrays
from examples.ocr.demo import text_of
from tests.support.cli import unspool_process
from tests.support.models import DATA, OCR, BundleCache, known_io

MISSING = ("torch", "onnx", "onnx_ir", "onnxscript", "ml_dtypes", "sympy", "hypothesis")


def test_a_bundle_reads_text_where_torch_and_onnx_are_missing(cache: BundleCache, tmp_path: Path) -> None:
    bundle = shutil.copytree(cache.ocr(), tmp_path / "moved")
    with np.load(OCR / "eval.npz") as lines:
        np.savez(tmp_path / "in.npz", image=lines["images"][:3].astype(np.float32))
        known = [text_of(row) for row in lines["targets"][:3]]
    arguments = ("run", bundle, "--inputs", tmp_path / "in.npz", "-o", tmp_path / "out.npz")
    found = unspool_process(*arguments, cwd=tmp_path, blocked=MISSING)
    assert found.status == 0, found.stderr
    results = read_arrays(tmp_path / "out.npz")
    assert [text_of(row) for row in results["tokens"]] == known


def test_a_bundle_verifies_where_torch_and_onnx_are_missing(cache: BundleCache) -> None:
    for bundle in (cache.ocr(), cache.export("bert_tiny/model")):
        found = unspool_process("verify", bundle, "--json", blocked=MISSING)
        assert found.status == 0, found.stderr
        assert all(check["passed"] for check in found.document["checks"])


@pytest.mark.slow
def test_two_real_models_of_one_bundle_run_by_name(cache: BundleCache, tmp_path: Path) -> None:
    """The two exports of one module: one set of weights, and the same answers by either name."""
    files = [f"{name}={DATA / 'bert_tiny' / file}" for name, file in (("a", "model.onnx"), ("b", "model_dynamo.onnx"))]

    def make(bundle: Path) -> None:
        found = unspool_process("compile", *files, "-o", bundle)
        assert found.status == 0, found.stderr

    bundle = cache.get("berts", make)
    alone = cache.export("bert_tiny/model")
    sizes = [sum(path.stat().st_size for path in folder.glob("weights/*")) for folder in (bundle, alone)]
    assert sizes[0] < 1.5 * sizes[1]
    io = known_io("bert_tiny/model")
    np.savez(tmp_path / "in.npz", **{name: array for name, array in io.items() if name != "logits"})  # type: ignore[arg-type]  # numpy types its flag beside **arrays
    for name in ("a", "b"):
        out = tmp_path / f"{name}.npz"
        arguments = ("run", bundle, "--model", name, "--inputs", tmp_path / "in.npz", "-o", out)
        assert unspool_process(*arguments, blocked=MISSING).status == 0
        np.testing.assert_allclose(read_arrays(out)["logits"], io["logits"], rtol=1e-4, atol=1e-4)
