"""The nine real networks of ONNX's own backend tests, as the onnx package carries them.

They are small on disk because their weights are fills of one value, made by ConstantOfShape. A fill hides much: a
kernel that is flipped, transposed or taken for its neighbour gives the same sums. `randomized` puts seeded random
weights in the fills' place.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, numpy_helper

from tests.support.models import Array

NAMES = (
    "bvlc_alexnet",
    "densenet121",
    "inception_v1",
    "inception_v2",
    "resnet50",
    "shufflenet",
    "squeezenet",
    "vgg19",
    "zfnet512",
)

_FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


def light_network(name: str) -> Path:
    """The file of one of NAMES."""
    return _FOLDER / f"light_{name}.onnx"


def expected_output(name: str) -> Array:
    """The output that the onnx package carries, for the input that ONNX's own tests give: see `light_input`."""
    tensor = onnx.TensorProto.FromString((_FOLDER / f"light_{name}_output_0.pb").read_bytes())
    return numpy_helper.to_array(tensor)


def light_input(shape: tuple[int, ...]) -> Array:
    """The float32 input of ONNX's backend tests for a light network: 0 to n - 1 over n, in order."""
    size = math.prod(shape)
    return (np.arange(size, dtype=np.float32) / np.float32(size)).reshape(shape)


def randomized(name: str, seed: int = 0) -> ModelProto:
    """The network with an initializer of random elements in place of every ConstantOfShape node."""
    model = onnx.load(light_network(name))
    graph = model.graph
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    fills = [node for node in graph.node if node.op_type == "ConstantOfShape"]
    positive, last = _positive(graph), _last_gemm_weights(graph)
    random = np.random.default_rng(seed)
    # What a residual network adds up grows from block to block; the others lose half of it in every Relu.
    gain = 1 if any(node.op_type == "Sum" for node in graph.node) else 2
    for node in fills:
        (output,), shape = node.output, tuple(int(size) for size in shapes[node.input[0]])
        if len(shape) > 1:
            scale = 0.1 if output == last else 1.0  # a Softmax of large scores is one-hot and tells nothing
            weights = random.standard_normal(shape) * scale * math.sqrt(gain / math.prod(shape[1:]))
        else:
            weights = random.uniform(0.8, 1.2, shape) if output in positive else random.uniform(-0.2, 0.2, shape)
        graph.initializer.append(numpy_helper.from_array(weights.astype(np.float32), output))
        graph.node.remove(node)
    replaced = {node.input[0] for node in fills}
    for values in (graph.initializer, graph.input):
        for value in [value for value in values if value.name in replaced]:
            values.remove(value)
    model.ir_version = max(model.ir_version, 4)  # before 4, initializers had to be inputs as well
    return model


def _positive(graph: GraphProto) -> set[str]:
    """Values that are scales or variances: near 1 for a network whose activations stay near 1."""
    found = {node.input[position] for node in graph.node if node.op_type == "BatchNormalization" for position in (1, 4)}
    found |= {name for node in graph.node if node.op_type == "Mul" for name in node.input}
    return found | {node.input[0] for node in graph.node if node.op_type == "Unsqueeze" and node.output[0] in found}


def _last_gemm_weights(graph: GraphProto) -> str | None:
    return next((node.input[1] for node in reversed(graph.node) if node.op_type == "Gemm"), None)
