"""Encoder-decoders of transformers: what a bundle decodes is what transformers.generate makes of the same model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import pytest

from artifacts.bundle import Bundle
from artifacts.runtime import Session
from artifacts.samples import archive_bytes, read_arrays
from artifacts.schedule import Beams
from tests.support.cli import unspool
from tests.support.decode_forms import DEFAULT, DRAFTED, FORMS, LOOP_CACHED, LOOP_RECOMPUTED, DecodeForm
from tests.support.models import DATA, Array, BundleCache

MODELS = (
    "bart_tiny/model.onnx",
    "t5_tiny/model.onnx",
    "t5_tiny/model_dynamo.onnx",
    "pegasus_tiny/model.onnx",
    "marian_tiny/model.onnx",
)
GUESSED = ("t5_tiny/model.onnx", "marian_tiny/model.onnx")
EARLY: Mapping[str, bool | Literal["never"]] = {"true": True, "false": False, "never": "never"}
BEAMS = ("1.0,false", "1.0,true", "2.0,false", "2.0,true", "1.0,never", "-0.5,false")


def known(model: str) -> dict[str, Array]:
    return dict(read_arrays((DATA / model).parent / "generate.npz"))


def assert_generates(bundle: Path, answers: Mapping[str, Array], way: str, beams: Beams | None = None) -> None:
    """A batch of sources of different lengths, then each of them alone and without padding."""
    sources = {name: answers[name] for name in ("input_ids", "attention_mask")}
    tokens, lengths = answers[f"{way}:tokens"], answers[f"{way}:lengths"]
    with Session.open(bundle, beams=beams) as session:
        found: dict[str, Any] = session.run(sources)
        np.testing.assert_array_equal(found["tokens"], tokens)
        np.testing.assert_array_equal(found["lengths"], lengths)
        if way != "greedy":
            np.testing.assert_allclose(found["scores"], answers[f"{way}:scores"], rtol=1e-4, atol=1e-4)
        for row, width in enumerate(sources["attention_mask"].sum(axis=1)):
            alone = session.run({name: array[row : row + 1, :width] for name, array in sources.items()})
            assert alone["tokens"].tolist() == [tokens[row, : lengths[row]].tolist()]


@pytest.mark.parametrize("model", MODELS)
def test_greedy_is_token_exact(cache: BundleCache, model: str) -> None:
    assert_generates(DEFAULT.bundle(cache, DATA / model), known(model), "greedy")


# Each compiles for half a minute: the gate takes one with and one without a relative bias, test-full all.
@pytest.mark.parametrize(
    "model", [name if name in GUESSED else pytest.param(name, marks=pytest.mark.slow) for name in MODELS]
)
def test_greedy_is_token_exact_with_guesses(cache: BundleCache, model: str) -> None:
    bundle, answers = DRAFTED.bundle(cache, DATA / model), known(model)
    assert_generates(bundle, answers, "greedy")
    with Session.open(bundle) as session:
        rows = {
            name: answers[name][:1, : answers["attention_mask"][0].sum()] for name in ("input_ids", "attention_mask")
        }
        found = session.answer(rows)
    assert found.drafted is not None
    assert 0 < found.drafted.accepted <= found.drafted.tokens


def test_guesses_are_made_in_8_bits_and_checked_in_float32(cache: BundleCache) -> None:
    bundle = DRAFTED.bundle(cache, DATA / MODELS[1])
    (engine,) = Bundle.open(bundle).manifest.engines.values()
    model = onnx.load_model(bundle / engine.source, load_external_data=False)
    draft, *exact = (
        f for f in model.functions if f.name != "encoder" and any(n.op_type == "MatMulNBits" for n in f.node)
    )
    assert exact == []
    bodies = [a.g for node in model.graph.node for a in node.attribute if node.op_type == "Loop" and a.name == "body"]
    assert [sum(node.op_type == draft.name for node in body.node) for body in bodies] == [3, 0]


def test_run_says_how_many_guesses_were_right(
    cache: BundleCache, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, answers = DRAFTED.bundle(cache, DATA / MODELS[1]), known(MODELS[1])
    inputs = {name: answers[name] for name in ("input_ids", "attention_mask")}
    (tmp_path / "in.npz").write_bytes(archive_bytes(inputs))
    arguments = ("run", bundle, "--inputs", tmp_path / "in.npz", "--batch", "1")
    found = unspool(capsys, *arguments, "--json").document["drafted"]
    assert 0 < found["accepted"] < found["tokens"]
    assert (
        f"guessed tokens that were right: {found['accepted']} of {found['tokens']}"
        in unspool(capsys, *arguments).stderr
    )
    rows = unspool(capsys, "inspect", bundle).stdout
    assert "3 tokens at a time" in rows


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("form", [form for form in FORMS if form != DEFAULT], ids=str)
def test_greedy_is_token_exact_in_every_form(cache: BundleCache, form: DecodeForm, model: str) -> None:
    assert_generates(form.bundle(cache, DATA / model), known(model), "greedy")


def assert_beams(bundle: Path, model: str, way: str) -> None:
    penalty, early = way.split(",")
    beams = Beams(width=4, length_penalty=float(penalty), early_stopping=EARLY[early])
    assert_generates(bundle, known(model), f"beams,{way}", beams)


@pytest.mark.parametrize("way", BEAMS)
def test_beams_are_token_exact(cache: BundleCache, way: str) -> None:
    """Rows of the cache change places with the beams."""
    assert_beams(LOOP_CACHED.bundle(cache, DATA / MODELS[0]), MODELS[0], way)


@pytest.mark.slow
@pytest.mark.parametrize("way", BEAMS)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("form", [LOOP_CACHED, LOOP_RECOMPUTED], ids=str)
def test_beams_are_token_exact_for_every_model(cache: BundleCache, form: DecodeForm, model: str, way: str) -> None:
    assert_beams(form.bundle(cache, DATA / model), model, way)


@pytest.mark.parametrize("model", MODELS)
def test_the_references_end_at_different_steps_and_differ_with_beams(model: str) -> None:
    answers = known(model)
    assert len(set(answers["greedy:lengths"].tolist())) > 2
    assert any(answers[f"beams,{way}:tokens"].tolist() != answers["greedy:tokens"].tolist() for way in BEAMS)
