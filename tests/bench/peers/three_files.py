"""ONNX Runtime on the three-file form: encoder, first step, later steps, with keys and values handed on.

`numpy` calls `run`, as people write it. `bound` leaves what a step gives in buffers of ONNX Runtime's own and
binds them as what the next one takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from tests.bench.peers.contestants import Decode
from tests.bench.peers.models import PeerModel

Array = npt.NDArray[Any]


def opened(folder: Path, model: PeerModel, form: str) -> Decode:
    encoder, first, step = (_session(folder / f"{name}.onnx") for name in FILES)
    forms: Mapping[str, Callable[[Any, dict[str, Any]], dict[str, Any]]] = {"numpy": _run, "bound": _run_bound}
    call = forms[form]
    taken = {value.name for value in step.get_inputs()}

    def decode(given: Array, count: int) -> list[list[int]]:
        mask = np.ones_like(given)
        memory = call(encoder, {"input_ids": given, "attention_mask": mask})["last_hidden_state"]
        tokens = np.full((len(given), 1), model.start)
        made = []
        feeds: dict[str, Any] = {"encoder_hidden_states": memory, "encoder_attention_mask": mask}
        for position in range(count):
            results = call(step if position else first, feeds | {"input_ids": tokens})
            logits = np.asarray(results.pop("logits"))[:, -1]
            logits[:, model.end] = -np.inf
            tokens = logits.argmax(-1)[:, None]
            made.append(tokens)
            feeds |= {name.replace("present", "past_key_values", 1): value for name, value in results.items()}
            feeds = {name: value for name, value in feeds.items() if name in taken}
        return np.concatenate(made, 1).tolist()  # type: ignore[no-any-return]

    return decode


FILES = ("encoder_model", "decoder_model", "decoder_with_past_model")


def _session(file: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def _run(session: Any, feeds: dict[str, Any]) -> dict[str, Any]:
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def _run_bound(session: Any, feeds: dict[str, Any]) -> dict[str, Any]:
    names = [value.name for value in session.get_outputs()]
    binding = session.io_binding()
    for name, value in feeds.items():
        if isinstance(value, np.ndarray):
            binding.bind_cpu_input(name, value)
        else:
            binding.bind_ortvalue_input(name, value)
    for name in names:
        binding.bind_output(name, "cpu")
    session.run_with_iobinding(binding)
    values = dict(zip(names, binding.get_outputs(), strict=True))
    return {name: value.numpy() if name == "logits" else value for name, value in values.items()}
