"""Random small ONNX models with ties: what a property of every pass is tried on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
from hypothesis import strategies as st

from tests.support.programs import Array

Size: TypeAlias = "int | tuple[str, int]"
"""A number, or a multiple of the model's one symbol: ("n", 2) is 2n."""
Shape: TypeAlias = tuple[Size, ...]

SIZES = (2, 4, 6)


@dataclass
class _Graph:
    """A graph that grows. Values have two dimensions; weights and what is computed from them alone are values too."""

    draw: st.DrawFn
    shapes: dict[str, Shape] = field(default_factory=dict)
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: dict[str, Array] = field(default_factory=dict)

    def pick(self, wanted: Callable[[Shape], bool] = lambda _: True) -> str | None:
        found = [name for name, shape in self.shapes.items() if wanted(shape)]
        return self.draw(st.sampled_from(found)) if found else None

    def add(self, op: str, inputs: list[str], shape: Shape, **attributes: int | list[int]) -> None:
        name = f"v{len(self.nodes)}"
        node = onnx.helper.make_node(op, inputs, [name])
        node.attribute.extend(onnx.helper.make_attribute(key, value) for key, value in attributes.items())
        self.nodes.append(node)
        self.shapes[name] = shape

    def weight(self, rows: int, columns: int) -> str:
        """A weight of that shape: one that is there, a new one, or a new one of the content of one that is there."""
        alike = [name for name, array in self.weights.items() if array.shape == (rows, columns)]
        choice = self.draw(st.sampled_from(["there", "equal", "new"])) if alike else "new"
        if choice == "there":
            return self.draw(st.sampled_from(alike))
        seed = len(self.weights)
        new = np.random.default_rng(seed).normal(size=(rows, columns)) / 2
        name = f"w{seed}"
        self.weights[name] = self.weights[alike[0]] if choice == "equal" else new
        self.shapes[name] = (rows, columns)
        return name


def _unary(graph: _Graph) -> None:
    value = graph.pick() or ""
    graph.add(graph.draw(st.sampled_from(["Relu", "Tanh", "Neg", "Sigmoid"])), [value], graph.shapes[value])


def _binary(graph: _Graph) -> None:
    left = graph.pick() or ""
    right = graph.pick(lambda shape: shape == graph.shapes[left]) or left
    graph.add(graph.draw(st.sampled_from(["Add", "Mul", "Sub"])), [left, right], graph.shapes[left])


def _product(graph: _Graph) -> None:
    left = graph.pick(lambda shape: isinstance(shape[1], int)) or ""
    rows, inner = graph.shapes[left]
    assert isinstance(inner, int)
    columns = graph.draw(st.sampled_from(SIZES))
    right = graph.weight(columns, inner) if graph.draw(st.booleans()) else ""
    if right:
        graph.add("Transpose", [right], (inner, columns), perm=[1, 0])
        right = f"v{len(graph.nodes) - 1}"
    graph.add("MatMul", [left, right or graph.weight(inner, columns)], (rows, columns))


def _transpose(graph: _Graph) -> None:
    value = graph.pick() or ""
    graph.add("Transpose", [value], graph.shapes[value][::-1], perm=[1, 0])


def _reshape(graph: _Graph) -> None:
    """Half as many columns, twice as many rows."""
    value = graph.pick(lambda shape: isinstance(shape[1], int) and shape[1] % 2 == 0)
    if value is None:
        return
    rows, columns = graph.shapes[value]
    assert isinstance(columns, int)
    graph.add("Constant", [], (2, 1), value_ints=[-1, columns // 2])
    shape = f"v{len(graph.nodes) - 1}"
    del graph.shapes[shape]  # integers: not a value to compute with
    graph.add("Reshape", [value, shape], (_times(rows, 2), columns // 2))


def _concat(graph: _Graph) -> None:
    axis = graph.draw(st.sampled_from([0, 1]))
    left = graph.pick(lambda shape: isinstance(shape[axis], int)) or ""
    if not left:
        return
    kept, joined = graph.shapes[left][1 - axis], graph.shapes[left][axis]
    right = graph.pick(lambda shape: shape[1 - axis] == kept and isinstance(shape[axis], int)) or left
    other = graph.shapes[right][axis]
    assert isinstance(joined, int)
    assert isinstance(other, int)
    total: Shape = (joined + other, kept) if axis == 0 else (kept, joined + other)
    graph.add("Concat", [left, right], total, axis=axis)


def _again(graph: _Graph) -> None:
    """A node that is there already, under another name."""
    made = [node for node in graph.nodes if node.output[0] in graph.shapes]
    if made:
        node = onnx.NodeProto.FromString(graph.draw(st.sampled_from(made)).SerializeToString())
        shape = graph.shapes[node.output[0]]
        node.output[0] = f"v{len(graph.nodes)}"
        graph.nodes.append(node)
        graph.shapes[node.output[0]] = shape


def _times(size: Size, factor: int) -> Size:
    return size * factor if isinstance(size, int) else (size[0], size[1] * factor)


_STEPS = (_unary, _binary, _binary, _product, _product, _transpose, _reshape, _concat, _again)


@st.composite
def random_models(draw: st.DrawFn) -> onnx.ModelProto:
    """A model of x float64 [n, 4]; what nothing in it uses is an output."""
    graph = _Graph(draw, {"x": (("n", 1), 4)})
    graph.weight(4, 4)
    for step in draw(st.lists(st.sampled_from(_STEPS), min_size=5, max_size=12)):
        step(graph)
    used = {name for node in graph.nodes for name in node.input}
    outputs = [name for name in graph.shapes if name not in used | graph.weights.keys()] or ["x"]
    double = onnx.TensorProto.DOUBLE
    whole = onnx.helper.make_graph(
        graph.nodes,
        "random",
        [onnx.helper.make_tensor_value_info("x", double, ["n", 4])],
        [onnx.helper.make_tensor_value_info(name, double, [None, None]) for name in outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in graph.weights.items()],
    )
    return onnx.helper.make_model(whole, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
