"""Encoder-decoders of transformers: what a bundle decodes is what transformers.generate makes of the same model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pytest

from artifacts.runtime import Session
from artifacts.samples import read_arrays
from artifacts.schedule import Beams
from compiler.compile import compile_bundle
from compiler.options import CacheMode, CompileOptions, ModelFile, ScheduleName
from tests.support.models import DATA, Array, BundleCache

FAMILIES = ("bart_tiny", "t5_tiny", "pegasus_tiny", "marian_tiny")
EARLY: Mapping[str, bool | Literal["never"]] = {"true": True, "false": False, "never": "never"}
BEAMS = ("1.0,false", "1.0,true", "2.0,false", "2.0,true", "1.0,never", "-0.5,false")


@dataclass(frozen=True)
class Form:
    """A way to compile a decode."""

    schedule: ScheduleName
    cache: CacheMode

    def __str__(self) -> str:
        return f"{self.schedule}-{self.cache}"

    def open(self, cache: BundleCache, family: str, beams: Beams | None = None) -> Session:
        options = CompileOptions(schedule=self.schedule, cache=self.cache)
        model = ModelFile(family, DATA / family / "model.onnx")
        bundle = cache.get(f"{family}-{self}", lambda folder: compile_bundle([model], folder, options))
        return Session.open(bundle, beams=beams)


LOOP = Form(ScheduleName.LOOP, CacheMode.OFF)
OTHERS = [
    Form(schedule, cache)
    for schedule in (ScheduleName.LOOP, ScheduleName.ENGINE_LOOP, ScheduleName.UNROLLED, ScheduleName.PARTITIONED)
    for cache in (CacheMode.OFF, CacheMode.PADDED)
    if (schedule, cache) != (LOOP.schedule, LOOP.cache)
]


def known(family: str) -> dict[str, Array]:
    return dict(read_arrays(DATA / family / "generate.npz"))


def assert_generates(session: Session, answers: Mapping[str, Array], way: str) -> None:
    """A batch of sources of different lengths, then each of them alone and without padding."""
    sources = {name: answers[name] for name in ("input_ids", "attention_mask")}
    tokens, lengths = answers[f"{way}:tokens"], answers[f"{way}:lengths"]
    found: dict[str, Any] = session.run(sources)
    np.testing.assert_array_equal(found["tokens"], tokens)
    np.testing.assert_array_equal(found["lengths"], lengths)
    if way != "greedy":
        np.testing.assert_allclose(found["scores"], answers[f"{way}:scores"], rtol=1e-4, atol=1e-4)
    for row, width in enumerate(sources["attention_mask"].sum(axis=1)):
        alone = session.run({name: array[row : row + 1, :width] for name, array in sources.items()})
        assert alone["tokens"].tolist() == [tokens[row, : lengths[row]].tolist()]


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_is_token_exact(cache: BundleCache, family: str) -> None:
    with LOOP.open(cache, family) as session:
        assert_generates(session, known(family), "greedy")


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("form", OTHERS, ids=str)
def test_greedy_is_token_exact_in_every_form(cache: BundleCache, form: Form, family: str) -> None:
    with form.open(cache, family) as session:
        assert_generates(session, known(family), "greedy")


@pytest.mark.parametrize("way", BEAMS)
@pytest.mark.parametrize("family", FAMILIES)
def test_beams_are_token_exact(cache: BundleCache, family: str, way: str) -> None:
    penalty, early = way.split(",")
    beams = Beams(width=4, length_penalty=float(penalty), early_stopping=EARLY[early])
    with LOOP.open(cache, family, beams) as session:
        assert_generates(session, known(family), f"beams,{way}")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_references_end_at_different_steps_and_differ_with_beams(family: str) -> None:
    answers = known(family)
    assert len(set(answers["greedy:lengths"].tolist())) > 2
    assert any(answers[f"beams,{way}:tokens"].tolist() != answers["greedy:tokens"].tolist() for way in BEAMS)
