from __future__ import annotations

from collections.abc import Mapping

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
import torch
from onnx import helper, numpy_helper

from artifacts.errors import SourceError, UnsupportedError
from passes.onnx_to_torch.constant_nodes import constant_tensors, label_of
from passes.onnx_to_torch.importer import Importer
from tests.support.onnx_ops import compare, run
from tests.support.programs import Array, answered, normal, parsed

X = normal(3, 4)


def imported(text: str, **weights: Array) -> Importer:
    return Importer(ir.from_proto(parsed(text, **weights)))


def results_of(text: str, *inputs: Array, **weights: Array) -> list[Array]:
    return run(imported(text, **weights), inputs)


def check(text: str, *inputs: Array, **weights: Array) -> None:
    """The importer gives what ONNX Runtime gives."""
    model = parsed(text, **weights)
    named = {value.name: array for value, array in zip(model.graph.input, inputs, strict=True)}
    compare(run(Importer(ir.from_proto(model)), inputs), list(answered(model, named).outputs.values()))


# --- constants ----------------------------------------------------------------------------------------------


def test_a_tensor_is_one_buffer_however_many_nodes_use_it() -> None:
    text = """
    g (float[n, 4] x) => (float[n, 4] y) {
        a = MatMul (x, w)
        same = Identity (w)
        b = MatMul (a, same)
        t = Transpose <perm = [1, 0]> (w)
        y = MatMul (b, t)
    }
    """
    importer = imported(text, w=normal(4, 4))
    assert dict(importer.buffer_names) == {"w0": "w"}
    assert len(list(importer.buffers())) == 1
    check(text, X, w=normal(4, 4))


def test_two_names_of_one_tensor_are_one_buffer() -> None:
    text = "g (float[n, 4] x) => (float[n, 4] y) { a = MatMul (x, v) y = MatMul (a, w) }"
    model = ir.from_proto(parsed(text, v=normal(4, 4), w=normal(4, 4)))
    model.graph.initializers["w"].const_value = model.graph.initializers["v"].const_value
    assert len(list(Importer(model).buffers())) == 1


def test_small_integers_are_known_and_large_ones_are_data() -> None:
    text = "g (float[n, 4] x) => (float[n, 4] y) { y = Reshape (x, shape) z = Gather (x, many) u = Gather (x, table) }"
    importer = imported(text, shape=np.array([0, 4]), many=np.zeros(2000, np.int64), table=np.zeros((2, 2), np.int64))
    assert sorted(importer.buffer_names.values()) == ["many", "table"]


CONSTANTS: list[tuple[str, Array]] = [
    ("value = float[2] {1.5, 2.5}", np.array([1.5, 2.5], np.float32)),
    ("value = float {3.0}", np.array(3.0, np.float32)),
    ("value = double[1] {0.1}", np.array([0.1])),
    ("value = int64[2, 2] {1, 2, 3, 4}", np.array([[1, 2], [3, 4]])),
    ("value = int64[3] {1, 5, 2}", np.array([1, 5, 2])),
    ("value = int32[2] {7, 7}", np.array([7, 7], np.int32)),
    ("value = int64 {4}", np.array(4)),
    ("value = int64[0] {}", np.zeros(0, np.int64)),
    ("value = bool[2] {1, 0}", np.array([True, False])),
    ("value = uint8[1] {255}", np.array([255], np.uint8)),
    ("value_int = -3", np.array(-3)),
    ("value_ints = [3, 1]", np.array([3, 1])),
    ("value_float = 0.5", np.array(0.5, np.float32)),
    ("value_floats = [0.5, 1.0]", np.array([0.5, 1.0], np.float32)),
]


@pytest.mark.parametrize(("form", "expected"), CONSTANTS)
def test_constant_in_all_its_forms(form: str, expected: Array) -> None:
    (value,) = results_of(f"g () => (float[m] y) {{ y = Constant <{form}> () }}")
    assert value.dtype == expected.dtype
    assert value.shape == expected.shape
    assert np.array_equal(value, expected)


def test_a_constant_of_low_precision() -> None:
    tensor = numpy_helper.from_array(np.array([1.5, -2.0], ml_dtypes.bfloat16), "h")
    model = parsed("g () => (bfloat16[2] y) { y = Identity (h) }")
    model.graph.initializer.append(tensor)
    (value,) = run(Importer(ir.from_proto(model)), [])
    assert value.dtype == ml_dtypes.bfloat16
    assert value.tolist() == [1.5, -2.0]


@pytest.mark.parametrize("form", ['value_string = "a"', 'value_strings = ["a"]'])
def test_a_constant_that_cannot_be_held_is_named(form: str) -> None:
    with pytest.raises(UnsupportedError, match="words: a Constant given as value_string"):
        imported(f"g () => (float[m] y) {{ [words] y = Constant <{form}> () }}")


def test_initializers_that_are_listed_as_inputs_are_not_asked_for() -> None:
    """As files of format version 3 do."""
    text = """
    <ir_version: 3, opset_import: ["": 9]>
    g (float[n, 4] x, float[4, 4] w, float[4] b) => (float[n, 4] y) { a = MatMul (x, w) y = Add (a, b) }
    """
    w, b = normal(4, 4), normal(4, seed=1)
    (value,) = results_of(text, X, w=w, b=b)
    np.testing.assert_allclose(value, X @ w + b, rtol=1e-5, atol=1e-6)


def test_every_constant_of_a_model_is_found() -> None:
    text = """
    <ir_version: 10, opset_import: ["": 20, "mine": 1]>
    g (float[n] x, bool c) => (float[n] y) {
        one = Constant <value_float = 1.0> ()
        a = mine.f (x)
        y = If (c) <
            then_branch = yes () => (float[n] t) { two = Constant <value_float = 2.0> () t = Add (a, two) },
            else_branch = no () => (float[n] e) { e = Add (a, one) }
        >
    }
    <domain: "mine", opset_import: ["": 20]>
    f (a) => (b) { three = Constant <value_float = 3.0> () b = Mul (a, three) }
    """
    model = parsed(text, w=normal(1))
    inner = model.graph.node[2].attribute[0].g
    inner.initializer.append(numpy_helper.from_array(np.array(4.0, np.float32), "four"))
    names = {tensor.name for tensor in constant_tensors(ir.from_proto(model))}
    assert names == {"w", "one", "two", "three", "four"}


# --- branches -----------------------------------------------------------------------------------------------

BRANCHES = """
g (float[n, 4] x) => (float[n, 4] y) {
    a = Relu (x)
    c = Constant <value = bool {DECIDED}> ()
    y = If (c) <
        then_branch = yes () => (float[n, 4] t) { s = Add (a, w) t = Mul (s, inner) },
        else_branch = no () => (float[n, 4] e) { e = Neg (a) }
    >
}
"""


@pytest.mark.parametrize(("decided", "expected"), [("1", (np.maximum(X, 0) + 2) * 3), ("0", -np.maximum(X, 0))])
def test_a_condition_that_is_known_takes_one_branch(decided: str, expected: Array) -> None:
    """The branch sees the values and the weights outside, and has weights of its own."""
    model = parsed(BRANCHES.replace("DECIDED", decided), w=np.array(2.0, np.float32))
    inner = numpy_helper.from_array(np.array(3.0, np.float32), "inner")
    model.graph.node[2].attribute[0].g.initializer.append(inner)
    (value,) = run(Importer(ir.from_proto(model)), [X])
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_a_branch_inside_a_branch_inside_a_function() -> None:
    text = """
    <ir_version: 10, opset_import: ["": 20, "mine": 1]>
    g (float[n, 4] x) => (float[n, 4] y, float[n, 4] z) {
        y = mine.pick <way = 1> (x)
        z = mine.pick <way = 0> (x)
    }
    <domain: "mine", opset_import: ["": 20]>
    pick <way> (a) => (b) {
        w = Constant <value_int: int = @way> ()
        c = Cast <to = 9> (w)
        d = Not (c)
        b = If (c) <
            then_branch = yes () => (t) {
                t = If (d) <
                    then_branch = never () => (u) { u = Neg (a) },
                    else_branch = always () => (v) { v = Abs (a) }
                >
            },
            else_branch = no () => (e) { e = Sqrt (a) }
        >
    }
    """
    y, z = results_of(text, np.abs(X))
    assert np.array_equal(y, np.abs(X))
    np.testing.assert_allclose(z, np.sqrt(np.abs(X)), rtol=1e-6)


# --- what is left out, and what goes wrong --------------------------------------------------------------------


def test_optional_inputs_and_outputs_may_be_left_out() -> None:
    text = """
    g (float[n, 4] x, float high) => (float[n, 4] y, int64[n, 2] at) {
        y = Clip (x, , high)
        k = Constant <value_ints = [2]> ()
        , at = TopK <axis = 1> (x, k)
    }
    """
    y, at = results_of(text, X, np.array(0.5, np.float32))
    assert np.array_equal(y, np.minimum(X, np.float32(0.5)))
    assert np.array_equal(at, np.argsort(-X, axis=1)[:, :2])


def test_outputs_may_be_inputs_weights_or_twice_the_same() -> None:
    text = """
    g (float[n, 4] x) => (float[n, 4] x, float[2] w, float[n, 4] a, float[n, 4] b) { a = Relu (x) b = Identity (a) }
    """
    x, w, a, b = results_of(text, X, w=normal(2))
    assert np.array_equal(x, X)
    assert np.array_equal(w, normal(2))
    assert np.array_equal(a, np.maximum(X, 0))
    assert np.array_equal(a, b)


@pytest.mark.parametrize(
    ("text", "label", "reason"),
    [
        (
            "g (float[n, 4] x) => (float[n, 4] y) { [bad] y = MatMul (x, x) }",
            "bad",
            "MatMul-13 on (float32[3, 4], float32[3, 4]): ",
        ),
        ("g (float[n, 4] x) => (float[n, 4] y) { y = MatMul (x, x) }", "MatMul:y", "MatMul-13 on "),
        (
            """
            <ir_version: 10, opset_import: ["": 20, "mine": 1]>
            g (float[n, 4] x) => (float[n, 4] y) { [call] y = mine.f (x) }
            <domain: "mine", opset_import: ["": 20]>
            f (a) => (b) { [inside] b = MatMul (a, a) }
            """,
            "call > inside",
            "MatMul-13 on (float32[3, 4], float32[3, 4]): ",
        ),
        (
            "g (float[n, 4] x) => (float[n, 4] y) { s = Constant <value_ints = [5, 5]> () [bad] y = Reshape (x, s) }",
            "bad",
            "Reshape-19 on (float32[3, 4], [5, 5]): ",
        ),
    ],
)
def test_a_node_that_fails_is_named_with_what_it_was_given(text: str, label: str, reason: str) -> None:
    with pytest.raises(SourceError) as caught:
        results_of(text, X)
    (problem,) = caught.value.problems
    assert problem.stage == "convert"
    assert problem.subject == label
    assert problem.message.startswith(reason)
    assert problem.hint == "do the samples fit the model?"
    assert caught.value.__cause__ is not None


def test_the_number_of_inputs_has_to_be_right() -> None:
    importer = imported("g (float[n] x, float[n] z) => (float[n] y) { y = Add (x, z) }")
    with pytest.raises(ValueError, match="zip"):
        importer(torch.zeros(3))


def test_a_node_is_called_by_its_name_or_by_its_operator_and_first_output() -> None:
    model = parsed("g (float[4] x) => (float[2] b) { [named] a = Relu (x) , b = Split <num_outputs = 2> (a) }")
    assert [label_of(node) for node in ir.from_proto(model).graph] == ["named", "Split:b"]


@pytest.mark.parametrize("opsets", [{"": 13}, {"ai.onnx": 13}])
def test_the_default_domain_has_two_spellings(opsets: Mapping[str, int]) -> None:
    model = parsed("g (float[n, 4] x) => (float[n] y) { y = ReduceSum <keepdims = 0> (x, axes) }", axes=np.array([1]))
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in opsets.items())
    for node in model.graph.node:
        node.domain = next(iter(opsets))
    (value,) = run(Importer(ir.from_proto(model)), [X])
    np.testing.assert_allclose(value, X.sum(axis=1), rtol=1e-5, atol=1e-6)


def test_weights_are_read_in_place() -> None:
    """A tensor in memory is not copied: one that is changed later is seen changed."""
    array = np.zeros(4, np.float32)
    tensor = ir.tensor(array, name="w")
    model = ir.from_proto(parsed("g (float[n, 4] x) => (float[n, 4] y) { y = Add (x, w) }", w=array))
    model.graph.initializers["w"].const_value = tensor
    importer = Importer(model)
    array += 1
    assert importer.get_buffer("w0").tolist() == [1.0] * 4
