"""A trained reader of text lines in fewer bits: the words still come out, and a line's are the same in any batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from artifacts.bundle import Bundle
from artifacts.runtime import Session
from compiler.compile import compile_bundle
from compiler.options import CompileOptions, ModelFile, Precision, ScheduleName
from tests.support.models import OCR, Array, BundleCache


def bundle_in(cache: BundleCache, precision: Precision, schedule: ScheduleName = ScheduleName.AUTO) -> Path:
    options = CompileOptions(precision=precision, schedule=schedule)
    model = ModelFile("model", OCR / "model.onnx")
    return cache.get(f"ocr-{precision}-{schedule}", lambda folder: compile_bundle([model], folder, options))


def read(session: Session, images: Array) -> list[list[int]]:
    results = session.run({"image": images})
    return [row[:length].tolist() for row, length in zip(results["tokens"], results["lengths"], strict=True)]


def assert_reads_every_line(bundle: Path) -> None:
    with np.load(OCR / "eval.npz") as archive:
        images, targets = archive["images"].astype(np.float32), archive["targets"]
    known = [[int(token) for token in row if token] for row in targets]
    with Session.open(bundle) as session:
        alone = [line for image in images for line in read(session, image[None])]
        assert sum(found == line for found, line in zip(alone, known, strict=True)) == 256
        order = np.random.default_rng(0).permutation(256)
        for size in (3, 32):
            for start in range(0, 256, size):
                rows = order[start : start + size]
                assert read(session, images[rows]) == [alone[row] for row in rows]


def test_in_int8_it_reads_every_line_alone_and_in_any_batch(cache: BundleCache) -> None:
    assert_reads_every_line(bundle_in(cache, Precision.INT8))


@pytest.mark.slow
@pytest.mark.parametrize("precision", [Precision.INT8_WEIGHT, Precision.INT4_WEIGHT])
def test_so_it_does_with_weights_of_fewer_bits(cache: BundleCache, precision: Precision) -> None:
    assert_reads_every_line(bundle_in(cache, precision))


@pytest.mark.slow
@pytest.mark.parametrize("schedule", [ScheduleName.LOOP, ScheduleName.UNROLLED, ScheduleName.PARTITIONED])
def test_and_in_int8_whoever_loops(cache: BundleCache, schedule: ScheduleName) -> None:
    assert_reads_every_line(bundle_in(cache, Precision.INT8, schedule))


@pytest.mark.slow
def test_and_in_int8_with_scales_that_a_few_lines_have_fixed(cache: BundleCache, tmp_path: Path) -> None:
    with np.load(OCR / "eval.npz") as archive:
        np.savez(tmp_path / "lines.npz", image=archive["images"][:16].astype(np.float32))
    options = CompileOptions(precision=Precision.INT8, calibration=tmp_path)
    model = ModelFile("model", OCR / "model.onnx")
    bundle = cache.get("ocr-calibrated", lambda folder: compile_bundle([model], folder, options))
    assert "quantize-static" in {step.name for step in Bundle.open(bundle).manifest.passes}
    assert_reads_every_line(bundle)


@pytest.mark.slow
def test_and_in_16_bits(cache: BundleCache) -> None:
    assert_reads_every_line(bundle_in(cache, Precision.FP16))


def test_the_weights_take_less_than_half(cache: BundleCache) -> None:
    sizes = []
    for bundle in (cache.ocr(), bundle_in(cache, Precision.INT8)):
        sizes.append(sum(shard.bytes for shard in Bundle.open(bundle).manifest.weights.shards))
    assert sizes[1] < sizes[0] / 2
