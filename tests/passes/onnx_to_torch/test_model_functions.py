"""Functions that a model brings along: their attributes, versions, optional inputs and constants."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from artifacts.errors import SourceError
from passes.interpreter import call
from passes.onnx_to_torch.importer import Importer
from tests.support.onnx_ops import compare, run
from tests.support.programs import Array, answered, bare, normal, parsed

X = normal(3, 4)


def results_of(text: str, *inputs: Array) -> list[Array]:
    return run(Importer(ir.from_proto(parsed(text))), inputs)


def check(text: str, *inputs: Array) -> None:
    """The importer gives what ONNX Runtime gives."""
    model = parsed(text)
    named = {value.name: array for value, array in zip(model.graph.input, inputs, strict=True)}
    compare(results_of(text, *inputs), list(answered(model, named).outputs.values()))


SCALED = """
<ir_version: 10, opset_import: ["": 20, "mine": 1]>
g (float[n, 4] x) => (float[n, 4] y, float[n, 4] z) {
    [given] y = mine.scaled <factor = 3.0> (x)
    [default] z = mine.scaled (y)
}
<domain: "mine", opset_import: ["": 20]>
scaled <factor: float = 0.5> (a) => (b) {
    f = Constant <value_float: float = @factor> ()
    b = Mul (a, f)
}
"""


def test_a_function_takes_attributes_from_the_call_or_from_its_defaults() -> None:
    y, z = results_of(SCALED, X)
    np.testing.assert_allclose(y, X * 3)
    np.testing.assert_allclose(z, y * 0.5)
    check(SCALED, X)


@pytest.mark.parametrize(
    ("form", "kind", "value"),
    [
        ("value_float", "float", 2.5),
        ("value_floats", "floats", [2.5, 1.0, 0.5, 4.0]),
        ("value_int", "int", 3),
        ("value_ints", "ints", [1, 2, 3, 5]),
    ],
)
def test_a_constant_may_name_an_attribute_of_any_form(form: str, kind: str, value: float | list[float]) -> None:
    text = f"""
    <ir_version: 10, opset_import: ["": 20, "mine": 1]>
    g (float[n, 4] x) => (float[n, 4] y) {{ y = mine.f <of = {value}> (x) }}
    <domain: "mine", opset_import: ["": 20]>
    f <of> (a) => (b) {{ c = Constant <{form}: {kind} = @of> () d = CastLike (c, a) b = Mul (a, d) }}
    """
    (result,) = results_of(text, X)
    np.testing.assert_allclose(result, X * np.array(value, np.float32))


def test_a_constant_may_name_a_tensor_of_the_call() -> None:
    text = """
    <ir_version: 10, opset_import: ["": 20, "mine": 1]>
    g (float[n, 4] x) => (float[n, 4] y) { y = mine.f <of = float[4] {1.0, 2.0, 3.0, 4.0}> (x) }
    <domain: "mine", opset_import: ["": 20]>
    f <of> (a) => (b) { c = Constant <value: tensor = @of> () b = Mul (a, c) }
    """
    (result,) = results_of(text, X)
    np.testing.assert_allclose(result, X * np.arange(1, 5, dtype=np.float32))


def test_functions_call_functions_and_hand_their_attributes_on() -> None:
    text = """
    <ir_version: 10, opset_import: ["": 20, "mine": 1]>
    g (float[n, 4] x) => (float[n, 4] y) { y = mine.outer <axis = 0> (x) }
    <domain: "mine", opset_import: ["": 20, "mine": 1]>
    outer <axis: int = 1, other: int = 1> (a) => (c) {
        b = mine.inner <which: int = @axis> (a)
        c = mine.inner <which: int = @other> (b)
    }
    <domain: "mine", opset_import: ["": 20]>
    inner <which> (a) => (b) { b = Softmax <axis: int = @which> (a) }
    """
    check(text, X)
    first = np.exp(X) / np.exp(X).sum(axis=0, keepdims=True)
    expected = np.exp(first) / np.exp(first).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(results_of(text, X)[0], expected, rtol=1e-5)


def test_a_function_has_operator_versions_of_its_own() -> None:
    """Softmax of version 11 makes its input a matrix first, the one of version 13 does not."""
    text = """
    <ir_version: 10, opset_import: ["": 20, "mine": 1]>
    g (float[n, 4, 2] x) => (float[n, 4, 2] y, float[n, 4, 2] z) {
        y = Softmax <axis = 1> (x)
        z = mine.old (x)
    }
    <domain: "mine", opset_import: ["": 11]>
    old (a) => (b) { b = Softmax <axis = 1> (a) }
    """
    x = normal(3, 4, 2)
    y, z = results_of(text, x)
    np.testing.assert_allclose(y.sum(axis=1), np.ones((3, 2)), rtol=1e-5)
    np.testing.assert_allclose(z.sum(axis=(1, 2)), np.ones(3), rtol=1e-5)


def test_inputs_of_a_function_may_be_left_out() -> None:
    text = """
    <ir_version: 10, opset_import: ["": 20, "mine": 1]>
    g (float[n, 4] x, float m) => (float[n, 4] y, float[n, 4] z, float[n, 4] u) {
        y = mine.cut (x)
        z = mine.cut (x, , m)
        u = mine.cut (x, m)
    }
    <domain: "mine", opset_import: ["": 20]>
    cut (a, low, high) => (b) { b = Clip (a, low, high) }
    """
    y, z, u = results_of(text, X, np.array(0.25, np.float32))
    assert np.array_equal(y, X)
    assert np.array_equal(z, np.minimum(X, np.float32(0.25)))
    assert np.array_equal(u, np.maximum(X, np.float32(0.25)))


def test_constants_stay_constants_inside_a_function() -> None:
    """Sizes that Split and Reshape want known; they come in as arguments."""
    text = """
    <ir_version: 10, opset_import: ["": 20, "mine": 1]>
    g (float[n, 4] x) => (float[m] y, float[k, 2] z) {
        sizes = Constant <value_ints = [1, 3]> ()
        wanted = Constant <value_ints = [-1, 2]> ()
        y, z = mine.f (x, sizes, wanted)
    }
    <domain: "mine", opset_import: ["": 20]>
    f (a, s, w) => (b, c) { b, rest = Split <axis = 1> (a, s) c = Reshape (a, w) }
    """
    check(text, X)


def test_what_a_constant_operand_selects_is_selected_inside_a_function_too() -> None:
    text = """
    <ir_version: 10, opset_import: ["": 20, "mine": 1]>
    g (float[n, 4] x) => (float[n, 8] y) {
        scales = Constant <value_floats = [1.0, 2.0]> ()
        same = Identity (scales)
        y = mine.outer (x, same)
    }
    <domain: "mine", opset_import: ["": 20, "mine": 1]>
    outer (a, s) => (b) { b = mine.wider (a, s) }
    <domain: "mine", opset_import: ["": 20]>
    wider (a, s) => (b) { b = Resize <mode = "nearest"> (a, , s) }
    """
    program = bare(parsed(text), {"x": X})
    assert program.functions["main"].signature.output("y").shape == ("n", 8)
    assert np.array_equal(call(program, "main", {"x": X})["y"], X.repeat(2, axis=1))


def test_a_function_may_have_the_name_of_an_operator() -> None:
    text = """
    <ir_version: 10, opset_import: ["": 20, "mine": 1]>
    g (float[n, 4] x) => (float[n, 4] y) { y = mine.Relu (x) }
    <domain: "mine", opset_import: ["": 20]>
    Relu (a) => (b) { b = Neg (a) }
    """
    assert np.array_equal(results_of(text, X)[0], -X)


SHADOWED = """
<ir_version: 10, opset_import: ["": {opset}, "mine": 1]>
g (float[n, 4] x) => (float[n, 4] y) {{
    half = Constant <value_float: float = 0.5> ()
    y = mine.Outer (x, half)
}}
<domain: "mine", opset_import: ["": {opset}]>
Outer (a, b) => (c) {{
    d = {name} (a)
    c = Mul (d, b)
}}
<opset_import: ["": {opset}]>
{name} (a) => (b) {{ b = Neg (a) }}
"""


def test_an_operator_goes_before_a_function_of_its_name() -> None:
    text = SHADOWED.format(opset=20, name="Relu")
    np.testing.assert_allclose(results_of(text, X)[0], np.maximum(X, 0) * 0.5)
    check(text, X)


def test_a_function_of_the_name_of_an_operator_of_a_later_version_is_called() -> None:
    text = SHADOWED.format(opset=17, name="Gelu")
    np.testing.assert_allclose(results_of(text, X)[0], -X * 0.5)


def test_an_output_that_is_no_tensor_is_named() -> None:
    text = """
    <ir_version: 10, opset_import: ["": 20]>
    g (float[n, 4] x) => (float[n, 4] y) { y = SequenceConstruct (x, x) }
    """
    with pytest.raises(SourceError, match="output 'y': is computed as a sequence of 2, and declared as a tensor"):
        results_of(text, X)
