from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from artifacts.dtype import DType
from artifacts.errors import BundleError
from artifacts.runtime import Session
from artifacts.schedule import Control, Engine, Unrolled
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
