"""Small models whose requests come in many sizes: one that has a mask, and one that padding does something to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, helper

from tests.support.models import floats, graph_model, ints, normal

Array = npt.NDArray[Any]

TOKENS, WIDTH, CLASSES = 30, 12, 3


def masked_model() -> ModelProto:
    """ids and mask int64 [batch, seq] -> scores float32 [batch, 3] of what the mask leaves, each int64 [batch, seq].

    `each` is the class of every token by itself, scores are of the mean. Weights are large enough not to be baked in.
    """
    nodes = [
        helper.make_node("Gather", ["embed", "ids"], ["rows"]),
        helper.make_node("Cast", ["mask"], ["kept"], to=1),
        helper.make_node("Unsqueeze", ["kept", "last"], ["column"]),
        helper.make_node("Mul", ["rows", "column"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "time"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["kept", "time"], ["count"], keepdims=1),
        helper.make_node("Div", ["sum", "count"], ["mean"]),
        helper.make_node("MatMul", ["mean", "head"], ["scores"]),
        helper.make_node("MatMul", ["rows", "head"], ["scored"]),
        helper.make_node("ArgMax", ["scored"], ["each"], axis=-1, keepdims=0),
    ]
    weights = {
        "embed": normal(TOKENS, WIDTH, seed=1),
        "head": normal(WIDTH, CLASSES, seed=2),
        "last": np.array([-1], np.int64),
        "time": np.array([1], np.int64),
    }
    inputs = [ints("ids", "batch", "seq"), ints("mask", "batch", "seq")]
    return graph_model(nodes, inputs, [floats("scores", "batch", CLASSES), ints("each", "batch", "seq")], weights)


def request(batch: int, seq: int, seed: int = 0) -> Mapping[str, Array]:
    """Inputs of the masked model, with holes in the mask."""
    random = np.random.default_rng(seed)
    mask = random.integers(0, 2, (batch, seq))
    mask[:, 0] = 1
    return {"ids": random.integers(0, TOKENS, (batch, seq)), "mask": mask}


def averaging_model() -> ModelProto:
    """image float32 [batch, 1, 8, w] -> mean float32 [batch, 16], halved float32 [batch, 16, 4, w//2].

    The mean is over all columns, so that columns of zeros change it; halved is of a convolution of stride 2.
    """
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["halved"], strides=[2, 2], kernel_shape=[2, 2]),
        helper.make_node("ReduceMean", ["halved"], ["mean"], axes=[2, 3], keepdims=0),
    ]
    outputs = [floats("mean", "batch", 16), floats("halved", "batch", 16, 4, "half")]
    return graph_model(nodes, [floats("image", "batch", 1, 8, "w")], outputs, {"kernel": normal(16, 1, 2, 2)})
