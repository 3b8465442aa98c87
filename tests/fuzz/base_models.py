"""Small whole models, one of each kind of thing that a file can hold: what the mutations start from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.helper import make_graph, make_node

from tests.support.models import Array, floats, graph_model, ints, normal, perceptron, toy_decoder

EXTERNAL_FILE = "weights.bin"


def write_base(name: str, folder: Path) -> Path:
    """Write one of BASES into a folder; the model's path."""
    folder.mkdir(parents=True)
    path = folder / "model.onnx"
    model = BASES[name]()
    if name == "external":
        onnx.save(model, path, save_as_external_data=True, location=EXTERNAL_FILE, size_threshold=0)
    else:
        onnx.save(model, path)
    return path


def shapes() -> ModelProto:
    """Sizes computed from sizes: x float32 [batch, 6] to y float32 [batch, 6]."""
    nodes = [
        make_node("Shape", ["x"], ["shape"]),
        make_node("Gather", ["shape", "zero"], ["rows"]),
        make_node("Concat", ["rows", "two", "minus"], ["target"], axis=0),
        make_node("Reshape", ["x", "target"], ["folded"]),
        make_node("Tile", ["folded", "repeats"], ["tiled"]),
        make_node("Slice", ["tiled", "zero", "three", "two"], ["cut"]),
        make_node("ConstantOfShape", ["shape"], ["filled"], value=numpy_helper.from_array(normal(1))),
        make_node("Reshape", ["cut", "shape"], ["flat"]),
        make_node("Expand", ["bias", "shape"], ["wide"]),
        make_node("Add", ["flat", "wide"], ["sum"]),
        make_node("Range", ["start", "six", "step"], ["range"]),
        make_node("Cast", ["range"], ["numbers"], to=TensorProto.FLOAT),
        make_node("Mul", ["sum", "numbers"], ["scaled"]),
        make_node("Pad", ["scaled", "pads"], ["padded"]),
        make_node("Slice", ["padded", "one", "minus", "one"], ["inner"]),
        make_node("Add", ["inner", "filled"], ["y"]),
    ]
    numbers: Mapping[str, Any] = {
        "zero": [0], "one": [1], "two": [2], "three": [3], "minus": [-1], "repeats": [1, 1, 2],
        "pads": [0, 1, 0, 1], "start": 0, "six": 6, "step": 1,
    }  # fmt: skip
    weights = {name: np.array(value, np.int64) for name, value in numbers.items()}
    return graph_model(nodes, [floats("x", "batch", 6)], [floats("y", "batch", 6)], {**weights, "bias": normal(6)})


def control() -> ModelProto:
    """If, Loop and Scan whose conditions are constants: x float32 [batch, 4] to y and rows."""
    branches = {
        f"{name}_branch": make_graph([make_node(op, ["x"], [name])], name, [], [floats(name, "batch", 4)])
        for name, op in (("then", "Relu"), ("else", "Neg"))
    }
    loop = make_graph(
        [
            make_node("Identity", ["going"], ["keep"]),
            make_node("Add", ["state", "weight"], ["next"]),
            make_node("ReduceSum", ["next"], ["sum"], keepdims=0),
        ],
        "loop",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            floats("state", "batch", 4),
        ],
        [helper.make_tensor_value_info("keep", TensorProto.BOOL, []), floats("next", "batch", 4), floats("sum")],
    )
    scan = make_graph(
        [make_node("Add", ["total", "row"], ["more"]), make_node("Tanh", ["more"], ["seen"])],
        "scan",
        [floats("total", 4), floats("row", 4)],
        [floats("more", 4), floats("seen", 4)],
    )
    nodes = [
        make_node("If", ["yes"], ["chosen"], **branches),
        make_node("Loop", ["three", "yes", "chosen"], ["last", "sums"], body=loop),
        make_node("Scan", ["zeros", "table"], ["end", "rows"], body=scan, num_scan_inputs=1),
        make_node("Add", ["last", "end"], ["y"]),
    ]
    weights: dict[str, Array] = {
        "yes": np.array(True), "three": np.array(3, np.int64), "weight": normal(4), "zeros": normal(4, seed=1),
        "table": normal(3, 4),
    }  # fmt: skip
    outputs = [floats("y", "batch", 4), floats("sums", 3), floats("rows", 3, 4)]
    return graph_model(nodes, [floats("x", "batch", 4)], outputs, weights, opset=19)


def functions() -> ModelProto:
    """A function that calls another one with its own attribute: x float32 [batch, 4] to y."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    leaky = NodeProto(op_type="LeakyRelu", input=["a"], output=["b"])
    reference = leaky.attribute.add()
    reference.name, reference.type, reference.ref_attr_name = "alpha", onnx.AttributeProto.FLOAT, "slope"
    inner = helper.make_function("local", "inner", ["a"], ["b"], [leaky], opsets, ["slope"])
    called = make_node("inner", ["p"], ["r"], domain="local", slope=0.25)
    outer = helper.make_function(
        "local", "outer", ["p", "q"], ["s"], [called, make_node("Add", ["r", "q"], ["s"])], opsets
    )
    nodes = [
        make_node("outer", ["x", "bias"], ["h"], domain="local"),
        make_node("inner", ["h"], ["y"], domain="local", slope=0.5),
    ]
    model = graph_model(nodes, [floats("x", "batch", 4)], [floats("y", "batch", 4)], {"bias": normal(4)})
    model.opset_import.append(helper.make_opsetid("local", 1))
    model.functions.extend([inner, outer])
    return model


def image() -> ModelProto:
    """A small network of convolutions: x float32 [batch, 3, 16, 16] to y float32 [batch, 5]."""
    nodes = [
        make_node("Conv", ["x", "kernel", "bias"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2], kernel_shape=[3, 3]),
        make_node("BatchNormalization", ["c", "scale", "bias", "mean", "var"], ["n"]),
        make_node("Relu", ["n"], ["r"]),
        make_node("MaxPool", ["r"], ["m"], kernel_shape=[2, 2], strides=[2, 2]),
        make_node("Resize", ["m", "", "scales"], ["u"], mode="nearest"),
        make_node("GlobalAveragePool", ["u"], ["g"]),
        make_node("Flatten", ["g"], ["f"]),
        make_node("Gemm", ["f", "dense", "offset"], ["l"], transB=1, alpha=0.5),
        make_node("Softmax", ["l"], ["y"], axis=-1),
    ]
    weights = {
        "kernel": normal(4, 3, 3, 3), "bias": normal(4), "scale": normal(4), "mean": normal(4), "var": normal(4) ** 2,
        "scales": np.array([1, 1, 2, 2], np.float32), "dense": normal(5, 4), "offset": normal(5),
    }  # fmt: skip
    return graph_model(nodes, [floats("x", "batch", 3, 16, 16)], [floats("y", "batch", 5)], weights)


def text() -> ModelProto:
    """Embedding, a recurrence, normalisation: ids int64 [batch, t] to y float32 [batch, 3]."""
    nodes = [
        make_node("Gather", ["table", "ids"], ["rows"]),
        make_node("Transpose", ["rows"], ["first"], perm=[1, 0, 2]),
        make_node("LSTM", ["first", "w", "r"], ["", "hidden"], hidden_size=3),
        make_node("Squeeze", ["hidden", "zero"], ["last"]),
        make_node("LayerNormalization", ["last", "gain", "shift"], ["y"], axis=-1),
    ]
    weights = {
        "table": normal(11, 4), "w": normal(1, 12, 4), "r": normal(1, 12, 3), "zero": np.array([0], np.int64),
        "gain": normal(3), "shift": normal(3),
    }  # fmt: skip
    return graph_model(nodes, [ints("ids", "batch", "t")], [floats("y", "batch", 3)], weights)


def types() -> ModelProto:
    """Eight-bit, half, double, bool and sequences: x float32 [batch, 4] to y float32 [batch, 8]."""
    nodes = [
        make_node("QuantizeLinear", ["x", "scale", "zero_point"], ["q"]),
        make_node("DequantizeLinear", ["q", "scale", "zero_point"], ["d"]),
        make_node("Cast", ["d"], ["half"], to=TensorProto.FLOAT16),
        make_node("Add", ["half", "row"], ["product"]),
        make_node("Cast", ["product"], ["double"], to=TensorProto.DOUBLE),
        make_node("Greater", ["double", "limit"], ["mask"]),
        make_node("Where", ["mask", "double", "limit"], ["kept"]),
        make_node("Cast", ["kept"], ["single"], to=TensorProto.FLOAT),
        make_node("SequenceConstruct", ["single", "x"], ["pair"]),
        make_node("ConcatFromSequence", ["pair"], ["y"], axis=1),
    ]
    weights: dict[str, Array] = {
        "scale": np.array(0.0625, np.float32), "zero_point": np.array(3, np.uint8),
        "row": np.array([0.25, -1, 0.5, 2], np.float16), "limit": np.array(0.5),
    }  # fmt: skip
    return graph_model(nodes, [floats("x", "batch", 4)], [floats("y", "batch", 8)], weights)


BASES: Mapping[str, Callable[[], ModelProto]] = {
    "perceptron": perceptron,
    "external": perceptron,
    "decoder": toy_decoder,
    "shapes": shapes,
    "control": control,
    "functions": functions,
    "image": image,
    "text": text,
    "types": types,
}

BUNDLED = ("perceptron", "decoder", "text", "types")
"""Those that bundles are made of: weights by offset and inside the graph, tokens, other element types."""
