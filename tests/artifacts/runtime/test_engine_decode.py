from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from artifacts.dtype import DType
from artifacts.errors import BundleError
from artifacts.runtime import Session
from artifacts.runtime.answer import Drafted
from artifacts.schedule import Control, Draft, Engine, Unrolled
from artifacts.spec import Signature
from tests.support import bundles
from tests.support.bundles import Graph, Model, spec
from tests.support.decoders import GENERATION, decoder

SIGNATURE = Signature(
    inputs=(spec("tokens_in", DType.INT64, "batch", 5), spec("lengths_in", DType.INT64, "batch")),
    outputs=(spec("made", DType.INT64, "batch", 5), spec("lengths_1", DType.INT64, "batch")),
)


def looping(control: Control) -> Model:
    """An "engine that decodes": it gives the tokens and lengths that it is told."""
    nodes = [
        helper.make_node("Identity", ["tokens_in"], ["made"]),
        helper.make_node("Identity", ["lengths_in"], ["lengths_1"]),
    ]
    schedule = decoder("recompute").schedule.model_copy(
        update={"encoder": None, "control": control, "generation": GENERATION}
    )
    return Model(schedule, SIGNATURE, {"step": Graph(nodes, SIGNATURE)})


@pytest.mark.parametrize("control", [Engine(), Unrolled()])
@pytest.mark.parametrize(("lengths", "columns"), [([2, 4], 4), ([5, 1], 5), ([0, 0], 0), ([], 0)])
def test_tokens_end_with_the_longest_row(tmp_path: Path, control: Control, lengths: list[int], columns: int) -> None:
    bundles.write(tmp_path / "b", {"m": looping(control)})
    tokens = np.arange(5 * len(lengths)).reshape(len(lengths), 5)
    with Session.open(tmp_path / "b") as session:
        assert session.signature.inputs == SIGNATURE.inputs
        assert [spec.name for spec in session.signature.outputs] == ["tokens", "lengths"]
        found = session.run({"tokens_in": tokens, "lengths_in": np.array(lengths, np.int64)})
    np.testing.assert_array_equal(found["tokens"], tokens[:, :columns])
    assert found["lengths"].tolist() == lengths


@pytest.mark.parametrize("control", [Engine(), Unrolled()])
def test_an_engine_that_gives_logits_is_refused(tmp_path: Path, control: Control) -> None:
    model = decoder("recompute")
    schedule = model.schedule.model_copy(update={"control": control})
    bundles.write(tmp_path / "b", {"m": Model(schedule, model.signature, model.functions)})
    with pytest.raises(BundleError, match="not tokens and lengths"):
        Session.open(tmp_path / "b")


def guessing(given: Sequence[str]) -> Model:
    """The same for one whose schedule chooses and guesses, and that gives these counts besides."""
    nodes = [
        helper.make_node("Identity", ["tokens_in"], ["made"]),
        helper.make_node("Identity", ["lengths_in"], ["lengths_1"]),
        *(helper.make_node("Constant", [], [name], value_int=number) for number, name in enumerate(given, 7)),
    ]
    counts = (spec(name, DType.INT64) for name in given)
    signature = Signature(inputs=SIGNATURE.inputs, outputs=(*SIGNATURE.outputs, *counts))
    schedule = decoder("growing").schedule.model_copy(
        update={"encoder": None, "control": Engine(), "draft": Draft(step="step", window="step", count=3)}
    )
    schedule = schedule.model_copy(update={"choice": "step"} if len(given) != 2 else {})
    return Model(schedule, signature, {"step": Graph(nodes, signature)})


@pytest.mark.parametrize(("given", "full"), [(("full", "drafted", "accepted"), 7), (("drafted", "accepted"), None)])
def test_guesses_are_counted_by_the_engine(tmp_path: Path, given: tuple[str, ...], full: int | None) -> None:
    bundles.write(tmp_path / "b", {"m": guessing(given)})
    with Session.open(tmp_path / "b") as session:
        arrays = {"tokens_in": np.zeros((1, 5), np.int64), "lengths_in": np.full(1, 5)}
        answer = session.answer(arrays)
        parts = session.answer({name: np.repeat(array, 3, axis=0) for name, array in arrays.items()}, batch=1)
    first = 7 if full is None else 8
    assert (answer.full_products, answer.drafted) == (full, Drafted(first, first + 1))
    assert parts.drafted == Drafted(3 * first, 3 * first + 3)


@pytest.mark.parametrize("given", [("full",), ("full", "drafted", "accepted", "more")])
def test_an_engine_with_other_counts_is_refused(tmp_path: Path, given: tuple[str, ...]) -> None:
    bundles.write(tmp_path / "b", {"m": guessing(given)})
    with pytest.raises(BundleError, match="not tokens and lengths"):
        Session.open(tmp_path / "b")
