from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from artifacts.schedule import Single
from passes.bodies import copied_graph, edited
from passes.program import Function, Program
from passes.text import fingerprint, function_text, program_text
from tests.support.decoder_programs import decoder_program
from tests.support.programs import PROGRAMS, Array, bare, normal, parsed

TEXT = """
g (float[n, 4] x, float[n, 4] z) => (float[n, 4] y, float[n, 4] r) {
    a = MatMul (x, w)
    s = Add (a, z)
    y = LeakyRelu <alpha = 0.125> (s)
    r = Tanh (s)
}
"""
WEIGHT = normal(4, 4)


def text_of(text: str = TEXT, weight: Array = WEIGHT, sizes: int = 3) -> Program:
    return bare(parsed(text, w=weight), {name: normal(sizes, 4).astype(weight.dtype) for name in ("x", "z")})


def test_the_text_of_a_function() -> None:
    assert function_text(text_of().functions["main"]) == (
        "func @main(%x: float32[n, 4], %z: float32[n, 4]) -> (y: float32[n, 4], r: float32[n, 4]) {\n"
        "  %w0 = weight 5f74ef6ec2c639ff : float32[4, 4]\n"
        "  %matmul_0 = aten.matmul.default(%x, %w0) : float32[n, 4]\n"
        "  %add_0 = aten.add.Tensor(%matmul_0, %z) : float32[n, 4]\n"
        "  %leaky_relu_0 = aten.leaky_relu.default(%add_0, 0.125) : float32[n, 4]\n"
        "  %tanh_0 = aten.tanh.default(%add_0) : float32[n, 4]\n"
        "  return %leaky_relu_0, %tanh_0\n"
        "}\n"
    )


def test_a_program_prints_its_models_and_functions_by_name() -> None:
    text = program_text(PROGRAMS["two_models"]())
    heads = [line.split("(")[0] for line in text.splitlines() if line.startswith(("model", "func"))]
    assert heads == ["model @large", "model @small", "func @large", "func @small"]
    assert '  schedule {"kind":"single","function":"large"}\n' in text


def test_the_order_in_which_functions_were_put_together_does_not_matter() -> None:
    program = PROGRAMS["two_models"]()
    functions, models = dict(reversed([*program.functions.items()])), dict(reversed([*program.models.items()]))
    turned = Program(functions, models, program.weights)
    assert fingerprint(turned) == fingerprint(program)


def test_names_of_nodes_and_of_symbols_inside_do_not_matter() -> None:
    program = text_of()
    function = program.functions["main"]
    graph, mapping = copied_graph(function.body)
    renamed = {}
    for old, new in mapping.items():
        renamed[old.name] = f"other_{old.name}"
        new.name = renamed[old.name]
        if new.op == "placeholder":
            new.meta["weight"] = old.name in function.weights
    weights = {renamed[name]: ref for name, ref in function.weights.items()}
    changed = replace(function, body=edited(function.body, graph), weights=weights, sources={})
    assert fingerprint(program.with_functions({"main": changed})) == fingerprint(program)
    assert fingerprint(text_of(sizes=5)) == fingerprint(program), "nor does the sample that was traced with"


@pytest.mark.parametrize(
    "make",
    [
        lambda: text_of(weight=np.nextafter(WEIGHT, np.float32(9))),
        lambda: text_of(TEXT.replace("float[", "double["), WEIGHT.astype(np.float64)),
        lambda: text_of(TEXT.replace("0.125", "0.25")),
        lambda: text_of(TEXT.replace("Add (a, z)", "Add (z, a)")),
        lambda: text_of(TEXT.replace("Tanh", "Sigmoid")),
        lambda: text_of(TEXT.replace("[n,", "[m,")),
        lambda: text_of(TEXT.replace("[n,", "[3,")),
        lambda: text_of(TEXT.replace("float[n, 4] y, float[n, 4] r", "float[n, 4] r, float[n, 4] y")),
        lambda: text_of(TEXT.replace("4] y", "4] other").replace("y =", "other =")),
        lambda: with_function(lambda function: replace(function, time=frozenset({"n"}))),
    ],
    ids=["weight", "type", "attribute", "order", "operator", "symbol", "size", "outputs", "output name", "time"],
)
def test_what_a_program_means_is_in_its_fingerprint(make: Callable[[], Program]) -> None:
    assert fingerprint(make()) != fingerprint(text_of())


def with_function(change: Callable[[Function], Function]) -> Program:
    program = text_of()
    return program.with_functions({"main": change(program.functions["main"])})


def test_the_schedule_is_in_the_fingerprint() -> None:
    program = decoder_program("recompute")
    single = replace(program.models["decoder"], schedule=Single(function="step"))
    assert fingerprint(replace(program, models={"decoder": single})) != fingerprint(program)


def test_no_two_values_share_a_name_whatever_the_inputs_are_called() -> None:
    text = """
    g (float[n] w0, float[n] add_0, float[n] add_1) => (float[n] y) {
        a = Add (w0, add_0)
        b = Add (a, add_1)
        y = Mul (b, w)
    }
    """
    inputs = {name: normal(3) for name in ("w0", "add_0", "add_1")}
    lines = program_text(bare(parsed(text, w=normal(1)), inputs)).splitlines()[1:-2]
    assert [line.split(" = ")[0].strip() for line in lines] == ["%w1", "%add_2", "%add_3", "%mul_0"]


def test_a_fingerprint_is_the_same_in_every_process() -> None:
    script = (
        "from passes.text import fingerprint; from tests.support.programs import PROGRAMS; "
        "print(fingerprint(PROGRAMS['shape_arithmetic']()))"
    )
    # Strings hash otherwise there than here: sets of them come in another order.
    environment = {**os.environ, "PYTHONHASHSEED": "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"}
    root = Path(__file__).resolve().parents[2]
    other = subprocess.run(
        [sys.executable, "-c", script], cwd=root, env=environment, capture_output=True, text=True, check=True
    )
    assert other.stdout.strip() == fingerprint(PROGRAMS["shape_arithmetic"]())
