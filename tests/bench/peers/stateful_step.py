"""OpenVINO: encoder and first step from the three-file form, and later steps with keys and values as its state.

`form` is the element type that it may compute in.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino
from openvino._offline_transformations import apply_make_stateful_transformation

from tests.bench.peers.contestants import Decode
from tests.bench.peers.models import PeerModel

PAST, PRESENT = "past_key_values", "present"


def opened(folder: Path, model: PeerModel, form: str) -> Decode:
    core = openvino.Core()
    settings = {
        "INFERENCE_PRECISION_HINT": form,
        "KV_CACHE_PRECISION": form,
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
    }
    encoder, first = (
        core.compile_model(core.read_model(folder / f"{name}.onnx"), "CPU", settings).create_infer_request()
        for name in ("encoder_model", "decoder_model")
    )
    graph = core.read_model(folder / "decoder_with_past_model.onnx")
    states = {f"{PAST}.{name}": f"{PRESENT}.{name}" for name in _grown(graph)}
    apply_make_stateful_transformation(graph, states)
    step = core.compile_model(graph, "CPU", settings).create_infer_request()
    taken = {name for value in step.model_inputs for name in value.names}

    def decode(given: npt.NDArray[Any], count: int) -> list[list[int]]:
        mask = np.ones_like(given)
        tokens = np.full((len(given), 1), model.start)
        memory = encoder.infer({"input_ids": given, "attention_mask": mask})["last_hidden_state"]
        begun = first.infer(
            {"input_ids": tokens, "encoder_hidden_states": memory, "encoder_attention_mask": mask}
        ).to_dict()
        results = {name: array for value, array in begun.items() for name in value.names}
        tokens = _chosen(results["logits"], model)
        made = [tokens]
        pasts = {name.replace(PRESENT, PAST, 1): results[name] for name in results if name.startswith(PRESENT)}
        for state in step.query_state():
            # Named after both that it connects.
            (name,) = (past for past in states if state.name.startswith(past))
            state.state = openvino.Tensor(pasts[name])
        feeds = {"encoder_attention_mask": mask} | pasts
        for name in taken & set(feeds):
            step.set_tensor(name, openvino.Tensor(np.ascontiguousarray(feeds[name])))
        for _ in range(count - 1):
            step.set_tensor("input_ids", openvino.Tensor(tokens))
            step.infer()
            tokens = _chosen(step.get_tensor("logits").data, model)
            made.append(tokens)
        return np.concatenate(made, 1).tolist()  # type: ignore[no-any-return]

    return decode


def _grown(graph: Any) -> list[str]:
    """What the step gives anew: keys and values of the tokens."""
    names = [name for value in graph.outputs for name in value.names if name.startswith(PRESENT)]
    return [name.removeprefix(f"{PRESENT}.") for name in names]


def _chosen(logits: npt.NDArray[Any], model: PeerModel) -> npt.NDArray[Any]:
    """The likeliest tokens, int64 [batch, 1]."""
    scores = np.asarray(logits)[:, -1]
    scores[:, model.end] = -np.inf
    return np.asarray(scores.argmax(-1)[:, None])
