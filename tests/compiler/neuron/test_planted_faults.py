"""What the compiler would refuse is told with the source's node, all of it at once, before any compiler is called."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, ValueInfoProto, helper

pytest.importorskip("jax")

from artifacts.errors import UnsupportedError
from compiler.compile import compile_bundle
from compiler.options import CompileOptions, ModelFile
from tests.support.models import floats, graph_model, ints, saved
from tests.support.neuronx_cc import Install

Fault = tuple[list[NodeProto], ValueInfoProto, str]
"""Nodes on x float32 [4, 4], the output that they make, and what is told of the planted one."""


def _node(kind: str, inputs: Sequence[str], output: str, name: str = "", **attributes: Any) -> NodeProto:
    return helper.make_node(kind, inputs, [output], name=name, **attributes)


FAULTS: dict[str, Fault] = {
    "planted operator": (
        [_node("Det", ["x"], "determinant", "planted operator")],
        floats("determinant"),
        "has no lowering to HLO",
    ),
    "planted sort": (
        [
            _node("Concat", ["x"] * 100, "long", axis=1),
            helper.make_node("TopK", ["long", "many"], ["sorted", "places"], name="planted sort"),
        ],
        floats("sorted", 4, 300),
        "the first 300 of 400 elements",
    ),
    "planted float64": (
        [
            _node("Cast", ["x"], "double", to=TensorProto.DOUBLE),
            _node("Exp", ["double"], "raised", "planted float64"),
            _node("Cast", ["raised"], "single", to=TensorProto.FLOAT),
        ],
        floats("single", 4, 4),
        "is float64, which accelerators lack",
    ),
    "planted size": (
        [_node("NonZero", ["x"], "where", "planted size")],
        ints("where", 2, "found"),
        "gives a size that depends on values: static shapes only [NCC_EMOD025]",
    ),
    "planted number": (
        [_node("Cast", ["x"], "whole", to=TensorProto.INT64), _node("Add", ["whole", "far"], "sum", "planted number")],
        ints("sum", 4, 4),
        "1099511627776, which 32 bits do not hold [NCC_ESFH002]",
    ),
    "planted numbers": (
        [
            _node("Cast", ["x"], "row", to=TensorProto.INT64),
            _node("Mul", ["row", "farther"], "product", "planted numbers"),
        ],
        ints("product", 4, 4),
        "a weight that it takes has -4294967296, which 32 bits do not hold [NCC_ESFH002]",
    ),
}

WEIGHTS = {
    "many": np.array([300]),
    "far": np.array(2**40),
    "farther": np.array([[-(2**32), 1, 2, 3]] * 64)[:4],
}


@pytest.fixture(autouse=True)
def _no_folder_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch would make one for TorchInductor, as it is imported: see `compiler/cli/main.py`."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", os.sep)


def told(faults: Sequence[str], folder: Path) -> list[tuple[str, str]]:
    """Subject and message of every problem with a model of these faults."""
    nodes = [node for fault in faults for node in FAULTS[fault][0]]
    taken = {name for node in nodes for name in node.input}
    weights = {name: array for name, array in WEIGHTS.items() if name in taken}
    outputs = [FAULTS[fault][1] for fault in faults]
    path = saved(graph_model(nodes, [floats("x", 4, 4)], outputs, weights), folder / "model.onnx")
    with pytest.raises(UnsupportedError) as caught:
        compile_bundle([ModelFile("m", path)], folder / "b", CompileOptions(target="neuronx"))
    assert not (folder / "b").exists()
    return [(problem.subject, problem.message) for problem in caught.value.problems]


def assert_told(fault: str, found: Sequence[tuple[str, str]]) -> None:
    said = [message for subject, message in found if f"(source node {fault!r})" in subject]
    assert any(FAULTS[fault][2] in message for message in said), [subject for subject, _ in found]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_told_before_the_compiler_is_called(fault: str, double: Install, tmp_path: Path) -> None:
    compiler = double("success")
    found = told([fault], tmp_path)
    assert_told(fault, found)
    assert (compiler.traces / "pid").exists()  # it was asked for its version
    assert not (compiler.traces / "arguments").exists()


def test_all_of_a_model_are_told_at_once(double: Install, tmp_path: Path) -> None:
    compiler = double("success")
    found = told(list(FAULTS), tmp_path)
    for fault in FAULTS:
        assert_told(fault, found)
    assert not (compiler.traces / "arguments").exists()
