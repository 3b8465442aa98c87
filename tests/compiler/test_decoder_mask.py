"""A decoder that takes a mask of its tokens decodes with ones, as its source does when it is given ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import ModelProto, TensorProto, helper

from artifacts.bundle import Bundle
from artifacts.runtime import Session
from artifacts.schedule import Decode
from compiler.compile import compile_bundle
from compiler.options import CompileOptions, ModelFile, ScheduleName
from tests.compiler.conftest import TOY_TOKENS
from tests.support.cli import unspool
from tests.support.models import ints, normal, saved, toy_decoder, toy_decoding

X = normal(5, 4, seed=3) * 4


def masked_decoder() -> ModelProto:
    """The toy decoder, whose embeddings are multiplied by `mask` int64 [batch, t]."""
    model = toy_decoder()
    nodes = list(model.graph.node)
    (sums,) = (node for node in nodes if node.op_type == "CumSum")
    sums.input[0] = "shown"
    place = nodes.index(sums)
    nodes[place:place] = [
        helper.make_node("Cast", ["mask"], ["factor"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["factor", "last"], ["factors"]),
        helper.make_node("Mul", ["rows", "factors"], ["shown"]),
    ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.input.append(ints("mask", "batch", "t"))
    model.graph.initializer.append(helper.make_tensor("last", TensorProto.INT64, [1], [2]))
    return model


@pytest.mark.parametrize("schedule", [ScheduleName.AUTO, ScheduleName.LOOP])
def test_it_decodes_and_takes_no_mask(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, schedule: ScheduleName
) -> None:
    model = saved(masked_decoder(), tmp_path / "masked.onnx")
    options = CompileOptions(schedule=schedule, tokens=TOY_TOKENS)
    found = compile_bundle([ModelFile("masked", model)], tmp_path / "out", options)
    entry = Bundle.open(tmp_path / "out").manifest.models["masked"]
    assert isinstance(entry.schedule, Decode)
    assert entry.schedule.state == "cached"
    assert "masked: decodes with ones for mask, a mask of its tokens" in found.report.notices
    expected = toy_decoding(X, 1, (3, 4), 9)
    with Session.open(tmp_path / "out") as session:
        assert [spec.name for spec in session.signature.inputs] == ["x"]
        results = session.run({"x": X})
    assert results["lengths"].tolist() == list(map(len, expected))
    assert [row[: len(known)].tolist() for row, known in zip(results["tokens"], expected, strict=True)] == expected
    assert unspool(capsys, "verify", tmp_path / "out").status == 0
    assert unspool(capsys, "verify", tmp_path / "out", "--against", model).status == 0
