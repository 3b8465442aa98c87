"""Models run in ONNX Runtime: the second opinion beside ONNX's own reference evaluator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.shape_inference
import onnx_ir as ir
import onnxruntime

from compiler.emit_onnx import emit_onnx
from passes.onnx_to_torch.convert import Converted, convert
from passes.onnx_to_torch.source import load_source

Array = npt.NDArray[Any]


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """A session on a model in memory, nothing rewritten by optimisers."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def answers(model: onnx.ModelProto, arrays: Sequence[Array]) -> list[Array]:
    """What a model gives for its inputs in order."""
    # Operators' newest versions are in no released runtime; the versions tested mean the same.
    model.ir_version = min(model.ir_version, 10)
    running = session(model)
    names = [value.name for value in running.get_inputs()]
    return [np.asarray(result) for result in running.run(None, dict(zip(names, arrays, strict=True)))]


def converted(model: onnx.ModelProto, inputs: Mapping[str, Array], folder: Path) -> Converted:
    """A model through the importer and torch.export."""
    path = folder / "model.onnx"
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return convert(load_source(path), "main", inputs)


def emitted(found: Converted) -> onnx.ModelProto:
    """A function as ONNX again, its weights inside."""
    body = emit_onnx(found.function)
    for name, ref in body.weights.items():
        value = body.model.graph.initializers[name]
        value.const_value = ir.Tensor(np.array(found.weights.array(ref)), dtype=value.dtype, name=name)
    return ir.to_proto(body.model)
