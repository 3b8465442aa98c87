"""A decoder whose mask is gone sees later tokens: it gets no cache, is told why, and decodes right all the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from artifacts.bundle import Bundle
from artifacts.runtime import Session
from artifacts.schedule import Decode
from compiler.options import CacheMode, ScheduleName
from compiler.source_decode import source_tokens
from compiler.source_runner import SourceRunner
from tests.support.cli import unspool
from tests.support.decode_forms import DecodeForm
from tests.support.models import OCR, Array, BundleCache, saved

MASK, LONGEST, LINES = "decoder.mask", 12, 8


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reader of lines with zeros for its causal mask."""
    changed = onnx.load(OCR / "model.onnx")
    (mask,) = (tensor for tensor in changed.graph.initializer if tensor.name == MASK)
    causal = numpy_helper.to_array(mask)
    assert (causal < 0).sum() == 75 * 74 // 2
    mask.CopyFrom(numpy_helper.from_array(np.zeros_like(causal), MASK))
    folder = tmp_path_factory.mktemp("bidirectional")
    settings = json.loads((OCR / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(settings | {"max_new_tokens": LONGEST}))
    return saved(changed, folder / "model.onnx")


@pytest.fixture(scope="module")
def images() -> Array:
    with np.load(OCR / "eval.npz") as archive:
        found: Array = archive["images"][:LINES].astype(np.float32)
    return found


def assert_decodes_as_its_source(bundle: Path, model: Path, images: Array) -> None:
    schedule = Bundle.open(bundle).manifest.models["model"].schedule
    assert isinstance(schedule, Decode)
    assert schedule.state == "recompute"
    runner = SourceRunner(model)
    inputs = {"image": images, "decoder_input_ids": np.ones((len(images), 2), np.int64)}
    expected = source_tokens(runner, schedule, inputs, len(images))
    assert len(set(expected["lengths"].tolist())) > 1
    with Session.open(bundle) as session:
        found = session.run({"image": images})
    assert {name: array.tolist() for name, array in found.items()} == {
        name: array.tolist() for name, array in expected.items()
    }


def test_it_gets_no_cache_and_the_node_is_named(
    capsys: pytest.CaptureFixture[str], cache: BundleCache, model: Path, images: Array
) -> None:
    told: list[str] = []

    def make(folder: Path) -> None:
        found = unspool(capsys, "compile", f"model={model}", "-o", folder)
        assert found.status == 0, found.stderr
        told.append(found.stderr)

    bundle = cache.get("bidirectional", make)
    report = Bundle.open(bundle).report()
    assert report is not None
    (notice,) = report.notices
    assert notice.startswith("model: no cache: node '")
    assert "(source node '/decoder/layers." in notice
    assert "changes at earlier positions when tokens are appended; every step computes all positions" in notice
    assert all(f"note: {notice}\n" in stderr for stderr in told)
    assert_decodes_as_its_source(bundle, model, images)


def test_a_cache_that_is_asked_for_is_an_error(capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path) -> None:
    found = unspool(capsys, "compile", model, "--cache", "on", "-o", tmp_path / "out", "--json")
    assert found.status == 1
    assert "no cache: node '" in found.error["message"]
    assert "(source node '/decoder/layers." in found.error["message"]
    assert found.error["hint"] == "use --cache off, or --cache auto"
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("schedule", [ScheduleName.LOOP, ScheduleName.UNROLLED, ScheduleName.PARTITIONED])
@pytest.mark.parametrize("mode", [CacheMode.AUTO, CacheMode.OFF])
def test_it_decodes_right_in_every_schedule(
    cache: BundleCache, model: Path, images: Array, schedule: ScheduleName, mode: CacheMode
) -> None:
    assert_decodes_as_its_source(DecodeForm(schedule, mode).bundle(cache, model), model, images)
