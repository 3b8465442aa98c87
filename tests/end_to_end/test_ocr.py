"""A trained reader of text lines: what comes out of the bundle is the text, not numbers that are near others."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest

from artifacts.bundle import Bundle
from artifacts.report import DecodeCost
from artifacts.runtime import Session
from artifacts.schedule import Decode, Partitioned
from compiler.options import CacheMode, ScheduleName
from examples.ocr.demo import text_of
from tests.support.cli import unspool
from tests.support.decode_forms import DEFAULT, FORMS, LOOP_CACHED, DecodeForm
from tests.support.models import OCR, Array, BundleCache

LINES = 24


@pytest.fixture(scope="module")
def lines() -> Mapping[str, Array]:
    """images float32 [256, 1, 16, 320], targets int64 [256, t]."""
    with np.load(OCR / "eval.npz") as archive:
        return {"images": archive["images"].astype(np.float32), "targets": archive["targets"]}


@pytest.fixture(scope="module")
def session(cache: BundleCache) -> Session:
    return Session.open(cache.ocr())


def read(session: Session, images: Array) -> list[str]:
    results = session.run({"image": images})
    return [text_of(row[:length]) for row, length in zip(results["tokens"], results["lengths"], strict=True)]


def assert_reads_every_line(session: Session, lines: Mapping[str, Array]) -> None:
    """All lines in batches of mixed lengths, token by token; then an eighth of them one by one."""
    known = [[int(token) for token in row if token] for row in lines["targets"]]
    assert len(known) == 256
    found = [tokens for start in range(0, 256, 32) for tokens in decoded(session, lines["images"][start : start + 32])]
    assert found == known
    assert [decoded(session, image[None])[0] for image in lines["images"][::8]] == known[::8]


def decoded(session: Session, images: Array) -> list[list[int]]:
    results = session.run({"image": images})
    return [row[:length].tolist() for row, length in zip(results["tokens"], results["lengths"], strict=True)]


def test_it_reads_every_line(session: Session, lines: Mapping[str, Array]) -> None:
    assert_reads_every_line(session, lines)


@pytest.mark.slow
@pytest.mark.parametrize("form", [form for form in FORMS if form != DEFAULT], ids=str)
def test_it_reads_every_line_in_every_form(cache: BundleCache, form: DecodeForm, lines: Mapping[str, Array]) -> None:
    with Session.open(form.bundle(cache, OCR / "model.onnx")) as session:
        assert_reads_every_line(session, lines)


@pytest.mark.slow
def test_as_many_partitions_run_as_the_length_of_a_line_demands(cache: BundleCache, lines: Mapping[str, Array]) -> None:
    bundle = DecodeForm(ScheduleName.PARTITIONED, CacheMode.ON).bundle(cache, OCR / "model.onnx")
    schedule = Bundle.open(bundle).manifest.models["model"].schedule
    assert isinstance(schedule, Decode)
    assert schedule.control == Partitioned(boundaries=(25, 50, 75))
    with Session.open(bundle) as line_session:
        calls = [line_session.answer({"image": image[None]}).calls for image in lines["images"]]
    assert {called[schedule.encoder or ""] for called in calls} == {1}
    demanded = [math.ceil(np.count_nonzero(row) / 25) for row in lines["targets"]]
    assert set(demanded) == {1, 2, 3}
    assert [called[schedule.step] for called in calls] == demanded


def test_a_cache_costs_less_than_exact_length_and_that_less_than_padding(cache: BundleCache) -> None:
    report = Bundle.open(cache.ocr()).report()
    assert report is not None
    whole, split = dict[str, DecodeCost](), dict[str, DecodeCost]()
    for cost in report.decode_costs:
        (whole if cost.encoder.instructions == 0 else split)[cost.state] = cost
    for cheaper, dearer in (("cached", "recompute"), ("recompute", "padded")):
        assert split[cheaper].steps.flops < split[dearer].steps.flops
        assert split[cheaper].steps.elements < split[dearer].steps.elements
    assert whole["recompute"].total.flops < whole["padded"].total.flops
    assert all(split[state].total.flops < whole[state].total.flops for state in whole)
    assert {cost.tokens for cost in report.decode_costs} == {75}


def test_a_batch_of_mixed_lengths_equals_its_lines_one_by_one(session: Session, lines: Mapping[str, Array]) -> None:
    images = lines["images"][LINES : LINES + 8]
    batch = session.run({"image": images})
    assert len(set(batch["lengths"].tolist())) > 3
    for image, tokens, length in zip(images, batch["tokens"], batch["lengths"], strict=True):
        alone = session.run({"image": image[None]})
        assert alone["lengths"].tolist() == [length]
        assert alone["tokens"][0].tolist() == tokens[:length].tolist()
        assert not tokens[length:].any(), "what follows the end is padding"


@pytest.mark.parametrize(
    "form",
    [
        DEFAULT,
        pytest.param(LOOP_CACHED, marks=pytest.mark.slow),
        pytest.param(DecodeForm(ScheduleName.PARTITIONED, CacheMode.ON), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_line_is_the_same_alone_and_in_any_batch(
    cache: BundleCache, form: DecodeForm, lines: Mapping[str, Array]
) -> None:
    """Rows that have ended are dropped on the way; what is left of a batch depends on who is in it."""
    bundle = cache.ocr() if form == DEFAULT else form.bundle(cache, OCR / "model.onnx")
    with Session.open(bundle) as opened:
        requests = [{"image": image[None]} for image in lines["images"]]
        alone = [opened.run(request)["tokens"][0].tolist() for request in requests]
        for batch in (3, 8, 32):
            order = np.random.default_rng(batch).permutation(len(requests)).tolist()
            answers = opened.run_many([requests[number] for number in order], batch=batch)
            assert [answer["tokens"][0].tolist() for answer in answers] == [alone[number] for number in order]


def test_tokens_end_with_the_end_and_do_not_begin_with_the_start(session: Session, lines: Mapping[str, Array]) -> None:
    results = session.run({"image": lines["images"][:4]})
    for tokens, length in zip(results["tokens"], results["lengths"], strict=True):
        assert tokens[length - 1] == 2
        assert not {0, 1, 2} & set(tokens[: length - 1].tolist())


def test_what_the_caller_gives_is_the_image_alone(session: Session) -> None:
    assert [spec.name for spec in session.signature.inputs] == ["image"]
    assert [spec.name for spec in session.signature.outputs] == ["tokens", "lengths"]


def test_verify_decodes_as_the_source_does(capsys: pytest.CaptureFixture[str], cache: BundleCache) -> None:
    found = unspool(capsys, "verify", cache.ocr(), "--json")
    assert found.status == 0
    assert {check["output"] for check in found.document["checks"]} == {"tokens", "lengths"}
