from __future__ import annotations

from typing import cast

import onnx_ir as ir

from artifacts.decode_inputs import DecodeInputs
from artifacts.dtype import DType
from artifacts.spec import TensorSpec
from artifacts.weights import WeightRef
from compiler.decode_onnx.functions import DOMAIN, Callee, DecodeFunctions
from compiler.decode_onnx.scope import Scope, typed


def value(name: str) -> ir.Value:
    return typed(TensorSpec(name=name, dtype=DType.FLOAT32, shape=(2,)))


def test_values_have_no_name_that_a_local_function_has() -> None:
    """ONNX allows it; TensorRT's parser then takes one argument of a call for another."""
    x, weight = value("x"), value("w0")
    product = ir.node("Mul", [x, weight])
    total = ir.node("Add", [product.outputs[0], weight])
    product.outputs[0].name, total.outputs[0].name = "v0", "c0"
    graph = ir.Graph([x, weight], total.outputs, nodes=[product, total], opset_imports={"": 20})
    callee = Callee(ir.Function(DOMAIN, "f", graph=graph, attributes=[]), ("x",), ("c0",), (0,))
    ref = WeightRef(digest="0" * 64, dtype=DType.FLOAT32, shape=(2,))
    functions = DecodeFunctions(cast(DecodeInputs, None), {"f": callee}, ((ref, ir.DataType.FLOAT),))
    scope = Scope(functions)
    given = value("given")
    once = scope.call("f", {"x": scope.op("Add", given, scope.constant([1.0, 2.0], "float32"))})["c0"]
    twice = scope.call("f", {"x": once})["c0"]
    twice.name, twice.type, twice.shape = "result", given.type, given.shape
    body = scope.finish([given], [twice])
    assert list(body.weights) == ["w1"]
    assert sorted(body.model.graph.initializers) == ["c1", "w1"]
    made = [output.name for node in body.model.graph for output in node.outputs]
    assert made == ["v1", "v2", "result"]
