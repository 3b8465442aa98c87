from __future__ import annotations

import numpy as np
import pytest

from artifacts.dtype import DType
from artifacts.errors import SourceError, UnsupportedError
from passes.interpreter import call
from passes.onnx_to_torch.convert import convert, source_inputs, source_signature
from passes.program import Program
from tests.support.onnx_ops import sample
from tests.support.programs import (
    PROGRAMS,
    Array,
    answered,
    attention_inputs,
    attention_model,
    converted,
    normal,
    operators,
    parsed,
    source_of,
)


def program_of(text: str, inputs: dict[str, Array], **weights: Array) -> Program:
    result = converted(parsed(text, **weights), inputs)
    return Program({"main": result.function}, {}, result.weights)


# --- signatures and sizes -----------------------------------------------------------------------------------


def test_batch_and_sequence_stay_symbolic() -> None:
    function = PROGRAMS["attention"]().functions["main"]
    assert str(function.signature) == (
        "(ids: int64[batch, seq], mask: int64[batch, seq]) -> (logits: float32[batch, seq, 13])"
    )
    assert set(function.symbols.values()) == {"batch", "seq"}


@pytest.mark.parametrize("sizes", [(1, 1), (1, 6), (4, 1), (2, 2), (5, 3), (7, 40)])
def test_a_converted_model_is_right_at_sizes_that_it_was_not_traced_with(sizes: tuple[int, int]) -> None:
    inputs = attention_inputs(*sizes)
    expected = answered(attention_model(), inputs).outputs["logits"]
    actual = call(PROGRAMS["attention"](), "main", inputs)["logits"]
    np.testing.assert_allclose(actual.astype(float), expected, rtol=1e-4, atol=1e-5)


def test_equal_sizes_in_the_sample_do_not_make_two_symbols_one() -> None:
    result = converted(attention_model(), attention_inputs(3, 3))
    assert result.function.signature.symbols == ("batch", "seq")
    assert result.notices == ()
    program = Program({"main": result.function}, {}, result.weights)
    expected = answered(attention_model(), attention_inputs(2, 5)).outputs["logits"]
    actual = call(program, "main", attention_inputs(2, 5))["logits"]
    np.testing.assert_allclose(actual.astype(float), expected, rtol=1e-4, atol=1e-5)


def test_sizes_that_the_graph_computes_are_expressions() -> None:
    function = PROGRAMS["shape_arithmetic"]().functions["main"]
    assert function.signature.output("y").shape == ("2*batch*seq", 6)


def test_a_size_without_a_name_is_called_after_its_input() -> None:
    text = "g (float[?, 4] x, float[0, 4] z) => (float[m, 4] y, float[k, 4] u) { y = Relu (x) u = Tanh (z) }"
    program = program_of(text, {"x": normal(3, 4), "z": normal(2, 4)})
    signature = program.functions["main"].signature
    assert [spec.shape for spec in signature.inputs] == [("x_dim0", 4), ("z_dim0", 4)]
    assert [spec.shape for spec in signature.outputs] == [("x_dim0", 4), ("z_dim0", 4)]


@pytest.mark.parametrize(("declared", "found"), [("found", "found"), ("n", None)])
def test_a_size_that_only_the_data_tells_has_the_outputs_name_for_it(declared: str, found: str | None) -> None:
    """Unless it is the name of another size already: a file may be wrong about that."""
    text = f"g (float[n] x) => (int64[1, {declared}] y) {{ y = NonZero (x) }}"
    (_, size) = converted(parsed(text), {"x": normal(5)}).function.signature.output("y").shape
    assert size == found or (found is None and size not in ("n", None))


def test_two_unknown_sizes_of_one_input_are_two_symbols() -> None:
    """Exporters write "?" for every size that they do not know, as PP-OCR's files do for height and width."""
    model = parsed("g (float[n, h, w] x) => (float[n, h, w] y) { y = Relu (x) }")
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim[1:]:
            dim.dim_param = "?"
    signature = source_signature(source_of(model))
    assert signature.inputs[0].shape == ("n", "x_dim1", "x_dim2")
    assert signature.outputs[0].shape == ("n", "y_dim1", "y_dim2")


def test_a_symbol_that_the_graph_allows_one_size_for_is_told() -> None:
    text = """
    g (float[n, k] x) => (float[n, 4] y) { y = MatMul (x, w) }
    """
    result = converted(parsed(text, w=normal(6, 4)), {"x": normal(3, 6)})
    assert result.function.signature.input("x").shape == ("n", 6)
    assert result.notices == ("input 'x': the graph allows only 6 for its symbolic dimension 'k'",)


def test_symbols_that_the_graph_makes_equal_are_one() -> None:
    text = "g (float[n] x, float[m] z) => (float[n] y) { d = Sub (x, z) y = Abs (d) }"
    model = parsed(text)
    signature = converted(model, {"x": normal(3), "z": normal(3)}).function.signature
    assert len({spec.shape for spec in (*signature.inputs, *signature.outputs)}) == 1


def test_the_signature_is_what_was_traced_where_the_file_is_wrong() -> None:
    text = "g (float[n, 4] x) => (float[7, 7, 7] y, int64[] z) { y = MatMul (x, w) z = Shape (y) }"
    signature = program_of(text, {"x": normal(3, 4)}, w=normal(4, 5)).functions["main"].signature
    assert str(signature) == "(x: float32[n, 4]) -> (y: float32[n, 5], z: int64[2])"


@pytest.mark.parametrize("logical", [DType.BOOL, DType.INT32, DType.UINT8, DType.FLOAT16, DType.FLOAT64])
def test_inputs_keep_their_types(logical: DType) -> None:
    text = f"g ({'double' if logical is DType.FLOAT64 else logical}[n] x) => (float[n] y) {{ y = Cast <to = 1> (x) }}"
    inputs = {"x": sample((3,), logical.numpy)}
    program = program_of(text, inputs)
    assert program.functions["main"].signature.input("x").dtype is logical
    assert call(program, "main", inputs)["y"].tolist() == inputs["x"].astype(np.float32).tolist()


# --- samples that do not fit --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ids", "mask", "problems"),
    [
        ((1, 5), (1, 5), ["has size 1 on axis 0 (batch)"] * 2),
        ((2, 0), (2, 1), ["has size 0 on axis 1 (seq)", "has size 1 on axis 1 (seq)"]),
        ((1, 1), (2, 5), ["has size 1 on axis 0 (batch)", "has size 1 on axis 1 (seq)"]),
    ],
)
def test_sizes_0_and_1_in_the_sample_are_refused_all_at_once(
    ids: tuple[int, int], mask: tuple[int, int], problems: list[str]
) -> None:
    inputs = {"ids": np.zeros(ids, np.int64), "mask": np.ones(mask, np.int64)}
    with pytest.raises(SourceError) as caught:
        converted(attention_model(), inputs)
    assert [problem.message for problem in caught.value.problems] == [f"{text} in the sample" for text in problems]
    assert all("2 or more" in problem.hint for problem in caught.value.problems)


def test_size_1_that_is_declared_so_is_taken() -> None:
    text = "g (float[1, n] x) => (float[1, n] y) { y = Relu (x) }"
    assert program_of(text, {"x": normal(1, 3)}).functions["main"].signature.input("x").shape == (1, "n")


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "is missing in the sample"),
        ({"x": normal(3)}, "is float32[3] in the sample"),
        ({"x": normal(3, 4).astype(np.float64)}, "is float64[3, 4] in the sample"),
        ({"x": normal(3, 5)}, "has size 5 on axis 1 in the sample"),
    ],
)
def test_a_sample_that_does_not_fit_the_signature(inputs: dict[str, Array], message: str) -> None:
    with pytest.raises(SourceError) as caught:
        converted(parsed("g (float[n, 4] x) => (float[n, 4] y) { y = Relu (x) }"), inputs)
    (problem,) = caught.value.problems
    assert problem.subject == "input 'x'"
    assert problem.message == message
    assert problem.hint == "give x: float32[n, 4]"


# --- weights ------------------------------------------------------------------------------------------------


def test_ties_stay_ties() -> None:
    program = PROGRAMS["attention"]()
    function = program.functions["main"]
    (embed,) = (node for node in function.weight_nodes if function.sources[node.name] == "embed")
    assert len(embed.users) == 2
    assert "aten.permute.default" in {str(user.target) for user in embed.users}


def test_equal_contents_of_two_initializers_are_one_content() -> None:
    text = "g (float[n, 4] x) => (float[n, 4] y) { a = MatMul (x, v) y = MatMul (a, w) }"
    program = program_of(text, {"x": normal(3, 4)}, v=normal(4, 4), w=normal(4, 4))
    assert len(program.functions["main"].weights) == 2
    assert len(program.weights) == 1


def test_weights_that_nothing_uses_are_left_out() -> None:
    text = "g (float[n, 4] x) => (float[n, 4] y) { dead = MatMul (x, v) y = Relu (x) }"
    program = program_of(text, {"x": normal(3, 4)}, v=normal(4, 4), w=normal(4, 4))
    assert operators(program.functions["main"]) == ["aten.relu.default"]
    assert len(program.weights) == 0


def test_weights_of_low_precision_are_kept_as_they_are() -> None:
    program = PROGRAMS["half_weights"]()
    (ref,) = program.functions["main"].weights.values()
    assert ref.dtype is DType.BFLOAT16
    assert program.weights.array(ref).dtype == np.uint16


def test_a_tensor_that_a_call_hands_to_a_function_is_a_weight_once() -> None:
    text = """
    <ir_version: 10, opset_import: ["": 20, "mine": 1]>
    g (float[n, 4] x) => (float[n, 4] y) {
        a = mine.f <of = float[4] {1.0, 2.0, 3.0, 4.0}> (x)
        y = mine.f <of = float[4] {1.0, 2.0, 3.0, 4.0}> (a)
    }
    <domain: "mine", opset_import: ["": 20]>
    f <of> (a) => (b) { c = Constant <value: tensor = @of> () b = Mul (a, c) }
    """
    program = program_of(text, {"x": normal(3, 4)})
    assert len(program.weights) == 1
    x = normal(2, 4)
    assert np.array_equal(call(program, "main", {"x": x})["y"], x * np.arange(1, 5, dtype=np.float32) ** 2)


# --- where nodes come from ----------------------------------------------------------------------------------


def test_sources_name_the_nodes_and_the_tensors_of_the_file() -> None:
    text = """
    <ir_version: 10, opset_import: ["": 20, "mine": 1]>
    g (float[n, 4] x) => (float[n, 4] y) {
        [first] a = MatMul (x, w)
        b = Relu (a)
        [call] y = mine.f (b)
    }
    <domain: "mine", opset_import: ["": 20]>
    f (a) => (c) { [inner] b = Tanh (a) c = Sigmoid (b) }
    """
    function = program_of(text, {"x": normal(3, 4)}, w=normal(4, 4)).functions["main"]
    assert [function.sources[node.name] for node in (*function.weight_nodes, *function.computations)] == [
        "w",
        "first",
        "Relu:b",
        "call > inner",
        "call > Sigmoid:c",
    ]


def test_nodes_carry_nothing_of_this_machine() -> None:
    for node in PROGRAMS["attention"]().functions["main"].graph.nodes:
        assert node.meta.keys() <= {"val", "weight"}


# --- outputs ------------------------------------------------------------------------------------------------


def test_outputs_may_be_inputs_weights_constants_and_one_value_twice() -> None:
    program = PROGRAMS["constant_outputs"]()
    names = [spec.name for spec in program.functions["main"].signature.outputs]
    assert names == ["same", "weight", "made", "a", "b"]
    assert operators(program.functions["main"]) == ["aten.relu.default"]


def test_an_input_that_nothing_uses_stays_in_the_signature() -> None:
    assert [spec.name for spec in PROGRAMS["constant_outputs"]().functions["main"].signature.inputs] == ["x", "unused"]


# --- what cannot be converted -------------------------------------------------------------------------------


def test_gaps_come_before_anything_else_and_all_at_once() -> None:
    model = parsed("g (float[n] x) => (float[n] y) { a = Fresh (x) y = Gadget (a) }")
    with pytest.raises(UnsupportedError) as caught:
        converted(model, {})
    assert [problem.subject for problem in caught.value.problems] == ["Fresh-20", "Gadget-20"]


def test_a_node_that_fails_is_named() -> None:
    model = parsed("g (float[n, 4] x) => (float[n, 4] y) { a = Relu (x) [bad] y = MatMul (a, w) }", w=normal(5, 4))
    with pytest.raises(SourceError) as caught:
        converted(model, {"x": normal(3, 4)})
    (problem,) = caught.value.problems
    assert problem.subject == "bad"
    assert problem.message.startswith("MatMul-13 on (float32[")


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("g (string[n] x) => (float[n] y) { y = Relu (x) }", UnsupportedError, "input 'x': element type STRING"),
        ("g (float x) => (string[n] y) { y = Relu (x) }", UnsupportedError, "output 'y': element type STRING"),
        (
            "g (seq(float[n]) x) => (float[n] y) { y = ConcatFromSequence <axis = 0> (x) }",
            UnsupportedError,
            "input 'x': is a SequenceType, not a tensor",
        ),
        ("g (float x) => (seq(float) y) { y = SequenceConstruct (x) }", UnsupportedError, "output 'y': is a Sequence"),
    ],
)
def test_signatures_that_are_not_of_tensors(text: str, kind: type[SourceError], message: str) -> None:
    with pytest.raises(kind, match=message):
        source_signature(source_of(parsed(text)))


def test_inputs_without_type_or_rank_are_refused() -> None:
    model = parsed("g (float[n] x, float[n] z) => (float[n] y) { y = Add (x, z) }")
    model.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(SourceError, match="input 'x': declares no rank"):
        source_signature(source_of(model))
    model.graph.input[0].ClearField("type")
    with pytest.raises(SourceError, match="input 'x': declares no element type"):
        source_signature(source_of(model))


def test_everything_wrong_with_a_signature_comes_at_once() -> None:
    model = parsed("g (string[n] x, float[n] z, string[n] u) => (string[n] y) { y = Add (x, z) }")
    model.graph.input[1].type.tensor_type.ClearField("shape")
    with pytest.raises(SourceError) as caught:
        source_signature(source_of(model))
    assert [problem.subject.split(": ")[1] for problem in caught.value.problems] == [
        "input 'x'",
        "input 'z'",
        "input 'u'",
        "output 'y'",
    ]
    assert not isinstance(caught.value, UnsupportedError)


def test_the_inputs_of_a_source_are_those_that_a_caller_gives() -> None:
    text = '<ir_version: 3, opset_import: ["": 9]> g (float[n] x, float[1] w) => (float[n] y) { y = Add (x, w) }'
    source = source_of(parsed(text, w=normal(1)))
    assert [value.name for value in source_inputs(source)] == ["x"]
    result = convert(source, "named", {"x": normal(3)})
    assert result.function.name == "named"
    assert [spec.name for spec in result.function.signature.inputs] == ["x"]
