from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from artifacts.errors import TargetError
from compiler.bfloat16_proof import in_float32
from tests.support.models import Array
from tests.support.onnx_ops import FEW
from tests.support.programs import normal, parsed

BF16 = ml_dtypes.bfloat16


def proven(model: onnx.ModelProto, inputs: Mapping[str, Array]) -> list[Array]:
    """What ONNX Runtime makes of a model that it cannot run as it is."""
    rewritten = ir.from_proto(model)
    assert in_float32(rewritten)
    data = ir.to_proto(rewritten).SerializeToString()
    onnx.checker.check_model(data, full_check=True)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    results: list[Array] = session.run(None, dict(inputs))
    return results


def low(array: Array) -> Array:
    return array.astype(BF16)


def add_weight(model: onnx.ModelProto, name: str, array: Array) -> None:
    data = low(array).tobytes()
    model.graph.initializer.append(helper.make_tensor(name, TensorProto.BFLOAT16, array.shape, data, raw=True))


def assert_same_bits(found: Array, expected: Array) -> None:
    """A float32 result against one of bfloat16."""
    np.testing.assert_array_equal(found.view(np.uint32), expected.astype(np.float32).view(np.uint32))


OPERATORS: Mapping[str, Callable[[Array, Array], Array]] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Relu": lambda a, _b: np.maximum(a, low(np.zeros(1))),
    "Neg": lambda a, _b: -a,
}


@given(st.lists(st.tuples(st.sampled_from(sorted(OPERATORS)), st.integers(0, 9)), min_size=1, max_size=8))
@FEW
def test_every_result_is_rounded_as_an_execution_operator_by_operator_does(chain: list[tuple[str, int]]) -> None:
    x = normal(64, seed=len(chain))
    lines, values = ["v0 = Cast <to = 16> (x)"], [low(x)]
    for number, (operator, other) in enumerate(chain, 1):
        right = other % number
        operands = f"v{number - 1}" + (f", v{right}" if operator in {"Add", "Sub", "Mul"} else "")
        lines.append(f"v{number} = {operator} ({operands})")
        values.append(OPERATORS[operator](values[-1], values[right]))
    body = "\n".join([*lines, f"y = Cast <to = 1> (v{len(chain)})"])
    (found,) = proven(parsed(f"g (float[n] x) => (float[n] y) {{ {body} }}"), {"x": x})
    assert_same_bits(found, values[-1])


def test_it_is_not_what_float32_alone_gives() -> None:
    x = normal(64)
    text = (
        "g (float[n] x) => (float[n] y) { a = Cast <to = 16> (x) b = Mul (a, a) c = Add (b, a) y = Cast <to = 1> (c) }"
    )
    (found,) = proven(parsed(text), {"x": x})
    wide = low(x).astype(np.float32)
    assert (found != wide * wide + wide).any()
    assert (found != low(wide * wide + wide).astype(np.float32)).any(), "rounded once, at the end"
    assert_same_bits(found, low(x) * low(x) + low(x))


def test_in_local_functions_that_are_called_more_than_once() -> None:
    text = """<ir_version: 10, opset_import: ["": 20, "local": 1]>
    g (float[n] x) => (float[n] y) {
        a = Cast <to = 16> (x)
        b = local.outer (a, w)
        c = local.outer (b, w)
        y = Cast <to = 1> (c)
    }
    <domain: "local", opset_import: ["": 20, "local": 1]>
    inner (p, q) => (r) { r = Mul (p, q) }
    <domain: "local", opset_import: ["": 20, "local": 1]>
    outer (p, q) => (r) { s = local.inner (p, q) r = Add (s, q) }
    """
    model = parsed(text)
    x, w = normal(32), normal(32, seed=1)
    add_weight(model, "w", w)
    (found,) = proven(model, {"x": x})
    expected = low(x)
    for _ in range(2):
        expected = expected * low(w) + low(w)
    assert_same_bits(found, expected)


def test_in_a_loop_that_carries_one_and_reads_one_from_outside() -> None:
    text = """
    g (float[n] x, int64 count) => (float[n] y, float[k, n] each) {
        a = Cast <to = 16> (x)
        b = Mul (a, w)
        going = Constant <value = bool {1}> ()
        last, all = Loop (count, going, a) <body = body (int64 i, bool more, bfloat16[n] held)
            => (bool again, bfloat16[n] next, bfloat16[n] scanned) {
                again = Identity (more)
                next = Add (held, b)
                scanned = Mul (held, held)
            }>
        y = Cast <to = 1> (last)
        each = Cast <to = 1> (all)
    }
    """
    model = parsed(text)
    x, w = normal(32), normal(32, seed=1)
    add_weight(model, "w", w)
    y, each = proven(model, {"x": x, "count": np.array(5)})
    held, squares = low(x), []
    for _ in range(5):
        squares.append(held * held)
        held = held + low(x) * low(w)
    assert_same_bits(y, held)
    assert_same_bits(each, np.stack(squares))


@pytest.mark.parametrize("chosen", [True, False])
def test_in_branches(chosen: bool) -> None:
    text = """
    g (float[n] x, bool chosen) => (float[n] y) {
        a = Cast <to = 16> (x)
        b = If (chosen) <
            then_branch = one () => (bfloat16[n] t) { t = Mul (a, a) },
            else_branch = other () => (bfloat16[n] e) { e = Neg (a) }
        >
        c = Add (b, a)
        y = Cast <to = 1> (c)
    }
    """
    x = normal(32)
    (found,) = proven(parsed(text), {"x": x, "chosen": np.array(chosen)})
    a = low(x)
    assert_same_bits(found, (a * a if chosen else -a) + a)


def test_constants_of_every_kind_are_what_they_were() -> None:
    tensor = helper.make_tensor("t", TensorProto.BFLOAT16, [2], low(np.array([0.1, 3])).tobytes(), raw=True)
    one = helper.make_tensor("o", TensorProto.BFLOAT16, [1], low(np.array([0.3])).tobytes(), raw=True)
    nodes = [
        helper.make_node("Cast", ["x"], ["a"], to=TensorProto.BFLOAT16),
        helper.make_node("Constant", [], ["c"], value=tensor),
        helper.make_node("Shape", ["a"], ["size"]),
        helper.make_node("ConstantOfShape", ["size"], ["filled"], value=one),
        helper.make_node("EyeLike", ["a"], ["eye"], dtype=TensorProto.BFLOAT16),
        helper.make_node("Mul", ["a", "c"], ["b"]),
        helper.make_node("Mul", ["b", "filled"], ["d"]),
        helper.make_node("Add", ["d", "eye"], ["e"]),
        helper.make_node("Cast", ["e"], ["y"], to=TensorProto.FLOAT),
    ]
    model = parsed("g (float[2, 2] x) => (float[2, 2] y) { y = Identity (x) }")
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    x = normal(2, 2)
    (found,) = proven(model, {"x": x})
    expected = low(x) * low(np.array([0.1, 3])) * low(np.array([0.3])) + low(np.eye(2))
    assert_same_bits(found, expected)


def test_inputs_and_outputs_keep_their_names_and_types() -> None:
    model = ir.from_proto(parsed("g (bfloat16[n] x) => (bfloat16[n] y, bool[n] z) { y = Abs (x) z = Less (y, x) }"))
    assert in_float32(model)
    assert [(v.name, v.dtype) for v in (*model.graph.inputs, *model.graph.outputs)] == [
        ("x", ir.DataType.BFLOAT16),
        ("y", ir.DataType.BFLOAT16),
        ("z", ir.DataType.BOOL),
    ]
    assert [node.op_type for node in model.graph] == ["Cast", "Abs", "Cast", "Cast", "Cast", "Less"]


def test_weights_stay_where_they_are(tmp_path: Path) -> None:
    model = parsed(
        "g (float[n, 4] x) => (float[n, 4] y) { a = Cast <to = 16> (x) b = MatMul (a, w) y = Cast <to = 1> (b) }"
    )
    add_weight(model, "w", normal(4, 4))
    (tmp_path / "weights").write_bytes(bytes(7) + model.graph.initializer[0].raw_data)
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "weights", offset=7, length=32)
    model.graph.initializer[0].ClearField("raw_data")
    rewritten = ir.from_proto(model)
    assert in_float32(rewritten)
    (held,) = ir.to_proto(rewritten).graph.initializer
    assert held == model.graph.initializer[0]


def test_a_graph_of_other_types_is_left_as_it_is() -> None:
    model = ir.from_proto(parsed("g (float[n] x) => (float16[n] y) { a = Relu (x) y = Cast <to = 10> (a) }"))
    before = ir.to_proto(model).SerializeToString()
    assert not in_float32(model)
    assert ir.to_proto(model).SerializeToString() == before


def test_an_operator_of_unknown_types_is_one_error() -> None:
    text = '<ir_version: 10, opset_import: ["": 20, "own": 1]> g (bfloat16[n] x) => (bfloat16[n] y) { y = own.Op (x) }'
    with pytest.raises(TargetError, match="own::Op has no types that are known"):
        in_float32(ir.from_proto(parsed(text)))
