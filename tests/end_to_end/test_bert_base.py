"""BERT-base in its real size: 435 MB of weights, in a file beside the model's and inside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from artifacts.bundle import Bundle
from artifacts.runtime import Session
from compiler.compile import compile_bundle
from compiler.options import CompileOptions, ModelFile
from tests.support.bert import BASE_SIZE, bert_file, random_bert
from tests.support.models import BundleCache, largest_error

pytestmark = pytest.mark.slow


def compiled(cache: BundleCache, name: str, path: Path) -> Path:
    return cache.get(name, lambda bundle: compile_bundle([ModelFile("bert", path)], bundle, CompileOptions()))


@pytest.fixture(scope="module")
def source() -> Path:
    return bert_file("bert_base", random_bert)


@pytest.fixture(scope="module")
def bundle(cache: BundleCache, source: Path) -> Path:
    return compiled(cache, "bert-base", source)


def test_it_answers_as_its_source(bundle: Path) -> None:
    error = largest_error(bundle)
    print(f"BERT-base: largest error {error:.3g}")
    assert error < 1e-4


@pytest.mark.parametrize(("batch", "tokens"), [(1, 128), (2, 1), (1, BASE_SIZE.positions)])
def test_it_answers_as_pytorch_did_before_any_export(bundle: Path, batch: int, tokens: int) -> None:
    ids = np.random.default_rng(tokens).integers(0, BASE_SIZE.vocabulary, (batch, tokens))
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    with torch.no_grad():
        expected = random_bert().eval()(*map(torch.from_numpy, inputs.values())).numpy()
    with Session.open(bundle, verify=False) as session:
        found = session.run(inputs)["last_hidden_state"]
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_weights_inside_the_model_file_make_the_same_engine(
    cache: BundleCache, bundle: Path, source: Path, tmp_path: Path
) -> None:
    """How a file keeps its weights is no part of the model."""
    whole = tmp_path / "model.onnx"
    onnx.save(onnx.load_model(source), whole)
    other = compiled(cache, "bert-base-in-one-file", whole)
    first, second = (Bundle.open(path, verify=False).manifest for path in (bundle, other))
    assert first.engines == second.engines
    assert first.weights == second.weights
    assert [first.files[e.source] for e in first.engines.values()] == [
        second.files[e.source] for e in second.engines.values()
    ]
