from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser
import onnx_ir as ir
import onnxruntime
import pytest
import torch

from passes.onnx_to_torch.convert import Converted
from tests.support.branching import REQUESTS, branching_inputs, branching_model
from tests.support.looping import LOOPS
from tests.support.onnx_ops import Array, node_model
from tests.support.onnxruntime_models import answers, converted, emitted, session
from tests.support.recurrences import GATES, OUTPUTS, Recurrent

WEIGHTS = (1, 2, 3, 7)
"""Positions of a recurrence's inputs that are initializers."""


def check(model: onnx.ModelProto, found: Converted, *requests: Mapping[str, Array]) -> onnx.ModelProto:
    """What is emitted gives what the source gives, in ONNX Runtime as users run it."""
    engine = emitted(found)
    running = onnxruntime.InferenceSession(engine.SerializeToString(), providers=["CPUExecutionProvider"])
    for request in requests:
        for result, expected in zip(running.run(None, dict(request)), answers(model, [*request.values()]), strict=True):
            assert result.shape == expected.shape
            np.testing.assert_allclose(result, expected, 2e-5, 2e-5)
    return engine


def nodes_of(model: onnx.ModelProto, op: str) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == op]


PLAIN: dict[str, Any] = {"hidden_size": 4, "direction": "forward"}
RICH: dict[str, dict[str, Any]] = {
    "GRU": {"activations": ["HardSigmoid", "LeakyRelu"], "activation_alpha": [0.3, 0.2], "activation_beta": [0.4]},
    "LSTM": {"activations": ["Sigmoid", "Softsign", "Elu"], "activation_alpha": [0.5], "input_forget": 1},
    "RNN": {"activations": ["Affine"], "activation_alpha": [0.5], "activation_beta": [0.1]},
}


def recurrent_model(drawn: Recurrent) -> onnx.ModelProto:
    model = node_model(drawn.op, drawn.inputs(4, 2), 14, drawn.attributes, drawn.outputs, WEIGHTS)
    for value in model.graph.input:
        axes = {"x0": ("time", "batch"), "x4": ("batch",)}.get(value.name, (None, "batch"))
        for dim, name in zip(value.type.tensor_type.shape.dim, axes, strict=False):
            if name is not None:
                dim.dim_param = name
    return model


def requests_of(drawn: Recurrent, *sizes: tuple[int, int]) -> list[dict[str, Array]]:
    return [
        {f"x{i}": array for i, array in enumerate(drawn.inputs(*size)) if array is not None and i not in WEIGHTS}
        for size in sizes
    ]


@pytest.mark.parametrize("op", GATES)
def test_a_plain_recurrence_becomes_onnxs_with_its_weights_by_reference(op: str, tmp_path: Path) -> None:
    drawn = Recurrent(op, PLAIN, 3, 4, frozenset({"b", "initial_h"}))
    model = recurrent_model(drawn)
    del model.graph.output[0]  # the last state alone, as a classifier has it
    first, *others = requests_of(drawn, (4, 2), (1, 1), (6, 3))
    engine = check(model, converted(model, first, tmp_path), first, *others)
    (node,) = nodes_of(engine, op)
    assert list(node.input) == ["x0", "x1", "x2", "x3", "", "x5"]
    assert list(node.output)[1:] == [f"y{i}" for i in range(1, OUTPUTS[op])]
    assert {i.name for i in engine.graph.initializer} == {"x1", "x2", "x3"}
    assert not {"clip"} & {a.name for a in node.attribute}
    assert op == "RNN" or not {"activations"} & {a.name for a in node.attribute}


@pytest.mark.parametrize("op", GATES)
def test_every_attribute_and_input_survives(op: str, tmp_path: Path) -> None:
    rich = RICH[op] | {name: values * 2 for name, values in RICH[op].items() if isinstance(values, list)}
    attributes = {"hidden_size": 4, "direction": "bidirectional", "clip": 0.7} | rich
    drawn = Recurrent(op, attributes, 3, 4, frozenset({"b", "lengths", "initial_h", "initial_c", "p"}))
    model = recurrent_model(drawn)
    first, *others = requests_of(drawn, (4, 2), (1, 1), (6, 3))
    engine = check(model, converted(model, first, tmp_path), first, *others)
    (node,) = nodes_of(engine, op)
    assert len(node.output) == OUTPUTS[op]
    assert {a.name for a in node.attribute} >= set(attributes)


def test_branches_become_an_if_with_the_weights_outside(tmp_path: Path) -> None:
    model = branching_model()
    found = converted(model, branching_inputs(3, True, True), tmp_path)
    engine = check(model, found, *(branching_inputs(*request) for request in REQUESTS))
    (node,) = nodes_of(engine, "If")
    assert not any(attribute.g.initializer for attribute in node.attribute)
    assert not engine.functions
    assert len([i for i in engine.graph.initializer if onnx.numpy_helper.to_array(i).dtype == np.float32]) == 3


def test_loops_become_a_loop_with_the_weights_outside(tmp_path: Path) -> None:
    case = LOOPS["counted"]
    found = converted(case.model, case.requests[0], tmp_path)
    engine = check(case.model, found, *case.requests)
    (node,) = nodes_of(engine, "Loop")
    (body,) = (attribute.g for attribute in node.attribute)
    assert not engine.functions
    assert not body.initializer
    assert [tuple(i.dims) for i in engine.graph.initializer] == [(3, 3)]
    assert sorted(n.op_type for n in body.node) == ["Add", "Cast", "Identity", "MatMul"]


@pytest.mark.parametrize("name", [name for name in LOOPS if name != "counted"])
def test_engines_with_loops_agree_with_the_source(name: str, tmp_path: Path) -> None:
    case = LOOPS[name]
    check(case.model, converted(case.model, case.requests[0], tmp_path), *case.requests)


@pytest.mark.parametrize("dtype", ["int64", "int32", "bool"])
def test_an_element_is_read_as_a_size(dtype: str, tmp_path: Path) -> None:
    model = onnx.parser.parse_model(f"""
        <ir_version: 10, opset_import: ["": 21]>
        graph (float[n] x, {dtype}[1] first) => (float[m] y)
        {{
            one = Constant<value = int64[1] {{1}}>()
            count = Cast<to = 7>(first)
            size = Add(count, one)
            zero = Sub(one, one)
            y = Slice(x, zero, size)
        }}
    """)
    inputs: list[dict[str, Array]] = [
        {"x": np.arange(n).astype(np.float32), "first": np.array([k]).astype(dtype)} for n, k in ((6, 1), (3, 0))
    ]
    check(model, converted(model, inputs[0], tmp_path), *inputs)


@pytest.mark.parametrize("saturate", [0, 1])
@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"])
def test_a_conversion_to_float8_overflows_as_the_source_says(dtype: str, saturate: int, tmp_path: Path) -> None:
    own = np.dtype(getattr(ml_dtypes, dtype))
    code = ir.DataType.from_numpy(own).value
    model = onnx.parser.parse_model(f"""
        <ir_version: 10, opset_import: ["": 21]>
        graph (float[n] x) => (float[n] y)
        {{
            narrow = Cast<to = {code}, saturate = {saturate}>(x)
            y = Cast<to = 1>(narrow)
        }}
    """)
    x = np.array([0.3, -2.5, 1e6, -1e6, np.inf, np.nan], np.float32)
    engine = emitted(converted(model, {"x": x}, tmp_path))
    (found,) = session(engine).run(None, {"x": x})
    most = torch.finfo(getattr(torch, dtype)).max
    np.testing.assert_array_equal(found, (np.clip(x, -most, most) if saturate else x).astype(own).astype(np.float32))


def test_what_is_required_fails_in_the_engine(tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["": 21]>
        graph (float[n, 2, m] x) => (float[n, 2] y)
        {
            axes = Constant<value = int64[1] {2}>()
            pooled = MaxPool<kernel_shape = [3], strides = [3]>(x)
            y = Squeeze(pooled, axes)
        }
    """)
    inputs = [{"x": np.random.default_rng(0).random(shape, np.float32)} for shape in ((2, 2, 4), (1, 2, 5), (3, 2, 3))]
    engine = session(check(model, converted(model, inputs[0], tmp_path), *inputs))
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.Fail):
        engine.run(None, {"x": np.zeros((2, 2, 6), np.float32)})


def test_the_remainder_by_a_size(tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["": 21]>
        graph (float[n] x, int64[m] k) => (float[n] y, int64[m] z)
        {
            size = Size(x)
            count = CastLike(size, x)
            y = Mod<fmod = 1>(x, count)
            z = Mod(k, size)
        }
    """)
    inputs: list[dict[str, Array]] = [
        {"x": np.arange(-3, n - 3).astype(np.float32), "k": np.arange(-4, m - 4)} for n, m in ((8, 9), (5, 7), (1, 1))
    ]
    check(model, converted(model, inputs[0], tmp_path), *inputs)


def test_adaptive_pooling_to_one_element_is_global_pooling(tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["": 21]>
        graph (float[2, 3, 4] a, float[2, 3, 4, 5] b, float[2, 3, 4, 5, 6] c)
            => (float[2, 3, 1] x, float[2, 3, 1, 1] y, float[2, 3, 1, 1, 1] z)
        { x = GlobalAveragePool(a) y = GlobalAveragePool(b) z = GlobalAveragePool(c) }
    """)
    arrays = (np.random.default_rng(0).random((2, 3, 4, 5, 6)[:rank], np.float32) for rank in (3, 4, 5))
    inputs = dict(zip("abc", arrays, strict=True))
    engine = check(model, converted(model, inputs, tmp_path), inputs)
    assert len(nodes_of(engine, "GlobalAveragePool")) == 3


@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
@pytest.mark.parametrize("dtype", ["uint8", "uint32"])
def test_shifts_stay_unsigned(direction: str, dtype: str, tmp_path: Path) -> None:
    numbers, places = np.array([3, 200, 255], dtype), np.array([1, 2, 0], dtype)
    model = node_model("BitShift", [numbers, places], 11, {"direction": direction})
    model.graph.output[0].type.tensor_type.elem_type = model.graph.input[0].type.tensor_type.elem_type
    engine = emitted(converted(model, {"x0": numbers, "x1": places}, tmp_path))
    (found,) = session(engine).run(None, {"x0": numbers, "x1": places})
    shifted = numbers << places if direction == "LEFT" else numbers >> places
    assert found.dtype == shifted.dtype
    np.testing.assert_array_equal(found, shifted)
