"""GRU, LSTM and RNN."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.support.onnx_ops import Array, node_model
from tests.support.onnxruntime_models import answers
from tests.support.recurrences import recurrents
from tests.support.strategies.node import Node
from tests.support.strategies.table import draws


@draws("GRU", "LSTM", "RNN")
def recurrent(node: Node) -> Sequence[Array | None]:
    """As ONNX Runtime has it in version 14: the evaluator knows neither clip, nor activations, nor layout 1."""
    drawn = node.draw(recurrents(node.op))
    node.outputs = drawn.outputs
    node.asked |= {"output_sequence", "hidden_size", *drawn.attributes, "layout", "activations", "clip"}
    node.asked |= {"activation_alpha", "activation_beta"}
    attributes = {name: value for name, value in drawn.attributes.items() if node.has(name)}
    if "linear_before_reset" not in attributes:
        drawn.attributes.pop("linear_before_reset", None)
    inputs = drawn.inputs(node.size(1, 4), node.size(1, 3))
    given = [array for array in inputs if array is not None]
    with np.errstate(all="ignore"):
        expected = answers(node_model(node.op, inputs, 14, drawn.attributes, node.outputs), given)
    if node.since == 1:
        attributes["output_sequence"] = 1
    if node.has("layout") and node.bit():
        attributes["layout"] = 1
        batched = (0, 5, 6) if node.op == "LSTM" else (0, 5)
        inputs = [a.swapaxes(0, 1) if a is not None and i in batched else a for i, a in enumerate(inputs)]
        outputs, *finals = expected
        expected = [outputs.transpose(2, 0, 1, 3), *(final.swapaxes(0, 1) for final in finals)]
    node.attributes |= attributes
    node.expected = expected
    node.tolerance = 2e-5
    return inputs
