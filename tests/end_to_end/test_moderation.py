"""Five models that repeat two backbones, in one bundle with one copy of each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx.numpy_helper import to_array

from artifacts.bundle import Bundle
from artifacts.runtime import Session
from compiler.targets.onnxruntime import INLINE_BYTES
from tests.support.cli import unspool
from tests.support.models import Array, BundleCache, normal, saved, source_outputs
from tests.support.moderation import WORDS, heads, image_backbone, moderation, text_backbone

NAMES = tuple(heads())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("moderation")
    return {name: saved(model, folder / f"{name}.onnx") for name, model in moderation().items()}


@pytest.fixture
def bundle(capsys: pytest.CaptureFixture[str], cache: BundleCache, files: dict[str, Path]) -> Path:
    def make(path: Path) -> None:
        found = unspool(capsys, "compile", *files.values(), "-o", path, "--require", "verified")
        assert found.status == 0, found.stderr

    return cache.get("moderation", make)


def request_for(name: str) -> dict[str, Array]:
    ids = np.random.default_rng(1).integers(0, WORDS, (3, 9))
    text = {"input_ids": ids, "attention_mask": (np.arange(9) < [[9], [4], [1]]).astype(np.int64)}
    image = {"pixel_values": normal(3, 3, 32, 32, seed=6)}
    return {"text": text, "image": image}.get(name.partition("_")[0], text | image)


@pytest.mark.parametrize("name", NAMES)
def test_each_model_answers_by_its_name(bundle: Path, files: dict[str, Path], name: str) -> None:
    inputs = request_for(name)
    with Session.open(bundle, name) as session:
        found = session.run(inputs)["logits"]
    np.testing.assert_allclose(found, source_outputs(files[name], inputs)["logits"], rtol=1e-5, atol=1e-5)


def test_a_backbone_is_stored_once(bundle: Path) -> None:
    weights = [*text_backbone().values(), *image_backbone().values(), *heads().values()]
    stored = sum(tensor.nbytes for tensor in Bundle.open(bundle).index().tensors)
    assert stored == sum(array.nbytes for array in weights if array.nbytes > INLINE_BYTES)


def test_requests_that_tasks_share_are_one_file(bundle: Path) -> None:
    models = Bundle.open(bundle).manifest.models
    first, second = (models[name].samples for name in ("image_nsfw", "image_violence"))
    assert [sample.inputs for sample in first] == [sample.inputs for sample in second]
    assert {sample.outputs for sample in first}.isdisjoint(sample.outputs for sample in second)


def test_the_report_says_what_was_saved(bundle: Path) -> None:
    report = Bundle.open(bundle).report()
    assert report is not None
    assert report.weights is not None
    shared = sum(array.nbytes for weights in (text_backbone(), image_backbone()) for array in weights.values())
    own = sum(array.nbytes for array in heads().values())
    assert report.weights.unique_bytes == shared + own
    assert report.weights.derived == ()
    files = [to_array(tensor).nbytes for model in moderation().values() for tensor in model.graph.initializer]
    assert report.weights.source_bytes == sum(files)
    assert sum(file.stat().st_size for file in (bundle / "weights").iterdir()) <= 1.01 * report.weights.unique_bytes
    assert report.weights.merged == 2 * (len(text_backbone()) + len(image_backbone()))


def test_the_engines_of_two_tasks_differ_by_their_heads_alone(bundle: Path) -> None:
    engines = Bundle.open(bundle).manifest.engines
    first, second = (set(engines[name].bindings.values()) for name in ("image_nsfw", "image_violence"))
    assert len(first & second) == len(image_backbone())
    assert len(first ^ second) == 2
