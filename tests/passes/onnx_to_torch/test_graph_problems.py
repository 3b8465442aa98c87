from __future__ import annotations

import pytest

from passes.onnx_to_torch.call_problems import call_problems
from passes.onnx_to_torch.graph_problems import graph_problems
from tests.support.programs import normal, parsed

IF = """
g (float[n] x, bool c) => (float[n] y) {{
    a = Relu (x)
    y = If (c) <
        then_branch = yes () => (float[n] t) {{ {then} }},
        else_branch = no () => (float[n] e) {{ e = Neg (a) }}
    >
}}
"""

FUNCTIONS = """
<ir_version: 10, opset_import: ["": 20, "mine": 1]>
g (float[n] x) => (float[n] y) {{ y = mine.f (x) }}
<domain: "mine", opset_import: ["": 20, "mine": 1]>
f (a) => (b) {{ {f} }}
<domain: "mine", opset_import: ["": 20, "mine": 1]>
h (a) => (b) {{ {h} }}
"""


def problems(text: str) -> list[str]:
    model = parsed(text, w=normal(1))
    found = [*graph_problems("m.onnx", model), *call_problems("m.onnx", model)]
    return [f"{problem.subject.removeprefix('m.onnx: ')}: {problem.message}" for problem in found]


@pytest.mark.parametrize(
    "text",
    [
        "g (float[n] x) => (float[n] y) { y = Add (x, w) }",
        "g (float[n] x, float[1] w) => (float[n] y) { y = Add (x, w) }",
        "g (float[n] x) => (float[n] x, float[1] w) { }",
        "g (float[n] x) => (float[n] y) { y = Clip (x, , w) }",
        "g (float[n] x) => (float[n] y) { a, , b = Fancy (x) y = Add (a, b) }",
        IF.format(then="t = Add (a, x)"),
        IF.format(then="inner = Neg (a) t = Relu (inner)"),
        FUNCTIONS.format(f="b = mine.h (a)", h="b = Neg (a)"),
        FUNCTIONS.format(f="c = mine.h (a) b = mine.h (c)", h="b = Neg (a)"),
    ],
)
def test_graphs_that_hang_together(text: str) -> None:
    assert problems(text) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "g (float[n] x) => (float[n] y) { y = Add (x, z) }",
            ["node 'Add:y': input 'z' is not defined"],
        ),
        (
            "g (float[n] x) => (float[n] y) { [first] a = Add (x, b) [second] b = Relu (a) y = Neg (b) }",
            ["node 'first': input 'b' is used before it is computed: a cycle, or nodes out of order"],
        ),
        (
            "g (float[n] x) => (float[n] y) { [loop] y = Add (x, y) }",
            ["node 'loop': input 'y' is used before it is computed: a cycle, or nodes out of order"],
        ),
        (
            "g (float[n] x) => (float[n] y) { y = Neg (x) y = Relu (x) }",
            ["node 'Relu:y': output 'y' is already the name of another value"],
        ),
        (
            "g (float[n] x) => (float[n] y) { x = Neg (w) y = Relu (x) }",
            ["node 'Neg:x': output 'x' is already the name of another value"],
        ),
        (
            "g (float[n] x) => (float[n] y) { w = Neg (x) y = Relu (w) }",
            ["node 'Neg:w': output 'w' is already the name of another value"],
        ),
        (
            "g (float[n] x) => (float[n] y, float[n] y) { y = Neg (x) }",
            ["graph 'g': output 'y' is there twice"],
        ),
        (
            "g (float[n] x) => (float[n] z) { y = Neg (x) }",
            ["graph 'g': output 'z' is not defined"],
        ),
        (IF.format(then="t = Add (a, y)"), ["node 'Add:t': input 'y' is not defined"]),
        (IF.format(then="t = Add (a, later)"), ["node 'Add:t': input 'later' is not defined"]),
        (IF.format(then="s = Neg (a)"), ["graph 'yes': output 't' is not defined"]),
        (
            FUNCTIONS.format(f="b = Add (a, x)", h="c = Neg (a)"),
            ["node 'Add:b': input 'x' is not defined", "function 'h': output 'b' is not defined"],
        ),
        (
            FUNCTIONS.format(f="b = mine.f (a)", h="b = Neg (a)"),
            ["function 'f': calls itself, directly or through another function"],
        ),
        (
            FUNCTIONS.format(f="b = mine.h (a)", h="b = mine.f (a)"),
            [f"function '{name}': calls itself, directly or through another function" for name in "fh"],
        ),
        (
            FUNCTIONS.format(f="b = Neg (a)", h="b = Neg (a)").replace("h (a)", "f (a)"),
            ["function 'mine.f' is there twice"],
        ),
    ],
)
def test_graphs_that_do_not(text: str, found: list[str]) -> None:
    told = problems(text)
    assert [line.removeprefix("m.onnx: ") for line in told] == found


def test_a_function_that_calls_itself_in_a_branch_is_found() -> None:
    branch = """
    c = Constant <value_int = 1> ()
    cond = Cast <to = 9> (c)
    b = If (cond) <
        then_branch = yes () => (t) { t = mine.f (a) },
        else_branch = no () => (e) { e = Neg (a) }
    >
    """
    text = FUNCTIONS.replace("{{", "{").replace("}}", "}").replace("{f}", branch).replace("{h}", "b = Neg (a)")
    assert problems(text) == ["function 'f': calls itself, directly or through another function"]


@pytest.mark.parametrize("reference", ["body", ""])
def test_a_branch_that_is_no_graph(reference: str) -> None:
    """By reference to an attribute of a function that is not there, or by its type alone."""
    model = parsed(IF.format(then="t = Neg (a)"))
    branch = model.graph.node[1].attribute[0]
    branch.ClearField("g")
    branch.ref_attr_name = reference
    (problem,) = graph_problems("m.onnx", model)
    assert problem.subject == "m.onnx: node 'If:y'"
    assert problem.message == "attribute 'then_branch' should hold a graph, and does not"
