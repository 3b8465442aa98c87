from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import NodeProto, helper

from artifacts.spec import Signature
from compiler.causality import is_causal
from compiler.decoders import DecoderPorts
from compiler.source_runner import SourceRunner
from passes.onnx_to_torch.convert import source_signature
from passes.onnx_to_torch.input_hints import InputHint
from passes.onnx_to_torch.source import load_source
from tests.support.models import floats, graph_model, ints, normal, saved

FORWARD = [helper.make_node("CumSum", ["rows", "time"], ["logits"])]
BOTH_WAYS = [
    helper.make_node("ReduceMean", ["rows"], ["mean"], axes=[1], keepdims=1),
    helper.make_node("Add", ["rows", "mean"], ["logits"]),
]
FIXED = [helper.make_node("Reshape", ["rows", "shape"], ["logits"])]


@pytest.mark.parametrize(("nodes", "causal"), [(FORWARD, True), (BOTH_WAYS, False), (FIXED, None)])
def test_scores_that_stay_when_tokens_are_appended(tmp_path: Path, nodes: list[NodeProto], causal: bool | None) -> None:
    weights = {"embed": normal(9, 9), "time": np.array(1, np.int64), "shape": np.array([2, 500, 9], np.int64)}
    gather = helper.make_node("Gather", ["embed", "ids"], ["rows"])
    model = graph_model([gather, *nodes], [ints("ids", "batch", "t")], [floats("logits", "batch", "t", 9)], weights)
    path = saved(model, tmp_path / "model.onnx")
    signature: Signature = source_signature(load_source(path))
    hints = {"ids": InputHint(table=9)}
    assert is_causal(SourceRunner(path), signature, hints, DecoderPorts("ids", "logits")) is causal
