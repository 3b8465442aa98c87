from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper

from passes.onnx_to_torch.gaps import find_gaps
from passes.onnx_to_torch.registry import Registry
from tests.support.programs import attention_model, parsed


def gaps(model: onnx.ModelProto | str) -> list[str]:
    parsed_model = parsed(model) if isinstance(model, str) else model
    found = find_gaps(ir.from_proto(parsed_model))
    assert {problem.stage for problem in found} <= {"convert"}
    return [f"{problem.subject}: {problem.message}" for problem in found]


def test_a_model_without_gaps() -> None:
    assert gaps(attention_model()) == []


def test_every_unknown_operator_is_listed_once_with_its_nodes() -> None:
    text = """
    <ir_version: 10, opset_import: ["": 20, "mine": 3, "com.example": 1]>
    g (float[n] x) => (float[n] y) {
        [one] a = Fresh (x)
        b = mine.Gadget (a)
        [two] c = Fresh (b)
        d = com.example.Gadget (c)
        e = Relu (d)
        y = mine.Gadget (e)
    }
    """
    assert gaps(text) == [
        "Fresh-20: no converter; needed by 2 nodes: one, two",
        "com.example.Gadget-1: no converter; needed by 1 node: Gadget:d",
        "mine.Gadget-3: no converter; needed by 2 nodes: Gadget:b, Gadget:y",
    ]


def test_operators_of_other_domains_come_with_a_hint() -> None:
    text = """
    <ir_version: 10, opset_import: ["": 20, "mine": 3]>
    g (float[n] x) => (float[n] y) { a = Fresh (x) y = mine.Gadget (a) }
    """
    fresh, gadget = find_gaps(ir.from_proto(parsed(text)))
    assert fresh.hint == ""
    assert gadget.hint.startswith("operators of domain 'mine' are not ONNX's own")


def test_of_many_nodes_the_first_three_are_shown() -> None:
    nodes = " ".join(f"[n{i}] v{i + 1} = Fresh (v{i})" for i in range(5))
    assert gaps(f"g (float[n] v0) => (float[n] v5) {{ {nodes} }}") == [
        "Fresh-20: no converter; needed by 5 nodes: n0, n1, n2, ..."
    ]


def test_branches_and_functions_are_looked_into_with_their_own_versions() -> None:
    text = """
    <ir_version: 10, opset_import: ["": 20, "mine": 1]>
    g (float[n] x, bool c) => (float[n] y) {
        a = mine.f (x)
        y = If (c) <
            then_branch = yes () => (float[n] t) { t = InTheBranch (a) },
            else_branch = no () => (float[n] e) { e = Neg (a) }
        >
    }
    <domain: "mine", opset_import: ["": 18]>
    f (a) => (b) { b = InTheFunction (a) }
    """
    assert gaps(text) == [
        "InTheBranch-20: no converter; needed by 1 node: InTheBranch:t",
        "InTheFunction-18: no converter; needed by 1 node: InTheFunction:b",
    ]


def test_a_function_of_the_model_is_no_gap() -> None:
    text = """
    <ir_version: 10, opset_import: ["": 20, "mine": 1]>
    g (float[n] x) => (float[n] y) { y = mine.Gadget (x) }
    <domain: "mine", opset_import: ["": 20]>
    Gadget (a) => (b) { b = Neg (a) }
    """
    assert gaps(text) == []


def test_both_spellings_of_the_default_domain_are_one() -> None:
    model = parsed("g (float[n] x) => (float[n] y) { a = Relu (x) b = Fresh (a) y = Fresh (b) }")
    for node in model.graph.node[:2]:
        node.domain = "ai.onnx"
    problems = gaps(model)
    assert all("Fresh-20" in problem for problem in problems)
    assert not any("Relu" in problem for problem in problems)


def test_an_operator_with_a_body_in_its_schema_is_no_gap() -> None:
    model = ir.from_proto(parsed("g (float[n] x) => (float[n] y) { a = Elu (x) y = Neg (a) }"))
    (problem,) = find_gaps(model, Registry())
    assert problem.subject == "Neg-13"


def test_constants_that_cannot_be_held_are_listed_all_at_once() -> None:
    model = parsed(
        """
        g (float[n] x) => (float[n] y) {
            [words] s = Constant <value_strings = ["a", "b"]> ()
            [word] t = Constant <value_string = "a"> ()
            [fresh] y = Fresh (x)
        }
        """
    )
    assert gaps(model) == [
        "Fresh-20: no converter; needed by 1 node: fresh",
        "words: a Constant given as value_strings",
        "word: a Constant given as value_string",
    ]


def test_initializers_of_types_that_there_are_not_are_listed() -> None:
    model = parsed("g (float[n] x) => (float[n] y) { y = Neg (x) }", fine=np.zeros(3, np.float32))
    model.graph.initializer.append(helper.make_tensor("words", TensorProto.STRING, [1], [b"a"]))  # type: ignore[list-item]
    assert gaps(model) == ["words: element type STRING"]
