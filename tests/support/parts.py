"""One small encoder-decoder in parts, in every form that exporters give it, and its scores in numpy.

The decoder sums what it has seen, h_t = sum over i <= t of embed[token_i], adds the mean m of the encoder's states
where the mask is 1, and scores (h_t + m) @ head. Both parts call their values alike (`table`, `rows`) and both call
their lengths `sequence`, as files do that know nothing of each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from tests.support.models import floats, graph_model, ints, normal, saved

Array = npt.NDArray[Any]

WORDS, WIDTH = 100, 4
READ, WRITTEN, HEAD = normal(WORDS, WIDTH, seed=1), normal(WORDS, WIDTH, seed=2), normal(WIDTH, WORDS, seed=3)
NAMES = {"encoder": "encoder_model.onnx", "decoder": "decoder_model.onnx", "with_past": "decoder_with_past_model.onnx"}

_HIDDEN = floats("encoder_hidden_states", "batch", "encoder_sequence", WIDTH)
_MASK = ints("encoder_attention_mask", "batch", "encoder_sequence")
_PAST = floats("past_key_values.0.decoder.sum", "batch", "past", WIDTH)
_PRESENT = floats("present.0.decoder.sum", "batch", "total", WIDTH)


def encoder() -> ModelProto:
    """(input_ids, attention_mask) [batch, sequence] -> last_hidden_state [batch, sequence, WIDTH]."""
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
        helper.make_node("Mul", ["rows", "column"], ["last_hidden_state"]),
    ]
    inputs = [ints("input_ids", "batch", "sequence"), ints("attention_mask", "batch", "sequence")]
    outputs = [floats("last_hidden_state", "batch", "sequence", WIDTH)]
    return graph_model(nodes, inputs, outputs, {"table": READ, "last": np.array([-1])})


def decoder() -> ModelProto:
    """All tokens so far [batch, sequence] -> logits, and the sums that a cache would hold."""
    outputs = [floats("logits", "batch", "sequence", WORDS), _PRESENT]
    return graph_model(
        _whole_nodes(), [ints("input_ids", "batch", "sequence"), _HIDDEN, _MASK], outputs, _weights(WRITTEN)
    )


def with_past(table: Array = WRITTEN) -> ModelProto:
    """One token [batch, 1] and the sums so far -> logits and one sum more."""
    outputs = [floats("logits", "batch", 1, WORDS), _PRESENT]
    inputs = [ints("input_ids", "batch", 1), _HIDDEN, _MASK, _PAST]
    return graph_model(_step_nodes(), inputs, outputs, _weights(table))


def merged() -> ModelProto:
    """Both decoders in the branches of one If, which have their values' names in common."""
    branches = {}
    for name, nodes in (("then_branch", _step_nodes()), ("else_branch", _whole_nodes())):
        made = [floats("logits", "batch", "t", WORDS), _PRESENT]
        branches[name] = helper.make_graph(nodes, name, [], made)
    nodes = [helper.make_node("If", ["use_cache_branch"], ["logits", "present.0.decoder.sum"], **branches)]
    flag = helper.make_tensor_value_info("use_cache_branch", TensorProto.BOOL, [1])
    inputs = [ints("input_ids", "batch", "sequence"), _HIDDEN, _MASK, _PAST, flag]
    outputs = [floats("logits", "batch", "sequence", WORDS), _PRESENT]
    return graph_model(nodes, inputs, outputs, _weights(WRITTEN))


def requests(batch: int = 2, read: int = 5, written: int = 3) -> dict[str, Array]:
    """Inputs of the whole model."""
    random = np.random.default_rng(batch * 100 + read * 10 + written)
    mask = np.ones((batch, read), np.int64)
    mask[0, 1:] = 0
    return {
        "input_ids": random.integers(0, WORDS, (batch, read)),
        "attention_mask": mask,
        "decoder_input_ids": random.integers(0, WORDS, (batch, written)),
    }


def scores(inputs: Mapping[str, Array]) -> Array:
    """What the whole model answers, float32 [batch, written, WORDS]."""
    mask = inputs["attention_mask"][..., None]
    mean = (READ[inputs["input_ids"]] * mask).sum(1) / mask.sum(1)
    result: Array = ((WRITTEN[inputs["decoder_input_ids"]].cumsum(1) + mean[:, None]) @ HEAD).astype(np.float32)
    return result


def written(folder: Path, decoding: ModelProto | None = None, past: ModelProto | None = None) -> Path:
    """The folder with the parts in it, by the names that people know."""
    folder.mkdir(parents=True, exist_ok=True)
    for model, name in ((encoder(), "encoder"), (decoding or decoder(), "decoder"), (past, "with_past")):
        if model is not None:
            saved(model, folder / NAMES[name])
    return folder


def with_external_data(path: Path) -> Path:
    """The model at a path with its weights moved into a file beside it."""
    model = onnx.load_model(path)
    onnx.save_model(model, path, save_as_external_data=True, location=f"{path.name}_data", size_threshold=64)
    return path


def _weights(table: Array) -> dict[str, Array]:
    return {"table": table, "head": HEAD, "last": np.array([-1]), "one": np.array([1]), "axis": np.array(1)}


def _whole_nodes() -> list[NodeProto]:
    sums = helper.make_node("CumSum", ["rows", "axis"], ["present.0.decoder.sum"])
    return [*_start(), sums, *_scores("present.0.decoder.sum")]


def _step_nodes() -> list[NodeProto]:
    return [
        *_start(),
        helper.make_node("Constant", [], ["end"], value=numpy_helper.from_array(np.array(-1), "end")),
        helper.make_node("Gather", [_PAST.name, "end"], ["before"], axis=1),
        helper.make_node("Unsqueeze", ["before", "one"], ["row"]),
        helper.make_node("Add", ["rows", "row"], ["sum"]),
        helper.make_node("Concat", [_PAST.name, "sum"], ["present.0.decoder.sum"], axis=1),
        *_scores("sum"),
    ]


def _start() -> list[NodeProto]:
    return [helper.make_node("Gather", ["table", "input_ids"], ["rows"])]


def _scores(sums: str) -> list[NodeProto]:
    return [
        helper.make_node("ReduceSum", ["encoder_hidden_states", "one"], ["total"], keepdims=1),
        helper.make_node("Cast", ["encoder_attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["mask", "one"], ["count"], keepdims=1),
        helper.make_node("Unsqueeze", ["count", "last"], ["column"]),
        helper.make_node("Div", ["total", "column"], ["mean"]),
        helper.make_node("Add", [sums, "mean"], ["state"]),
        helper.make_node("MatMul", ["state", "head"], ["logits"]),
    ]
