"""Random small ONNX models with ties, views, branches and loops: what a property of every pass is tried on."""

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

    def add(self, op: str, inputs: list[str], shape: Shape, **attributes: int | list[int] | onnx.GraphProto) -> None:
        name = f"v{len(self.nodes)}"
        node = onnx.helper.make_node(op, inputs, [name])
        node.attribute.extend(onnx.helper.make_attribute(key, value) for key, value in attributes.items())
        self.nodes.append(node)
        self.shapes[name] = shape

    def weight(self, rows: int, columns: int) -> str:
        """A weight of that shape: one that is there, or a new one, maybe of the content of one that is there.

        It may also be another one turned, some of its rows, or all of its elements in another shape.
        """
        alike = [name for name, array in self.weights.items() if array.shape == (rows, columns)]
        views = self._views(rows, columns)
        kinds = ["there", "equal"] if alike else []
        choice = self.draw(st.sampled_from([*kinds, *(["view", "view"] if views else []), "new"]))
        if choice == "there":
            return self.draw(st.sampled_from(alike))
        seed = len(self.weights)
        name = f"w{seed}"
        if choice == "equal":
            self.weights[name] = self.weights[alike[0]]
        elif choice == "view":
            self.weights[name] = np.ascontiguousarray(self.draw(st.sampled_from(views)))
        else:
            self.weights[name] = np.random.default_rng(seed).normal(size=(rows, columns)) / 2
        self.shapes[name] = (rows, columns)
        return name

    def _views(self, rows: int, columns: int) -> list[Array]:
        """What views of the weights have a shape."""
        arrays = self.weights.values()
        turned = [array.T for array in arrays if array.T.shape == (rows, columns)]
        parts = [a[-rows:] for a in arrays if a.shape[1] == columns and a.shape[0] > rows]
        reshaped = [array.reshape(rows, columns) for array in arrays if array.size == rows * columns]
        return [*turned, *parts, *reshaped]

    def inner(self, name: str, nodes: list[onnx.NodeProto], given: list[str], results: list[str]) -> onnx.GraphProto:
        """A graph inside the graph: "i" and "going" are the number and the condition of a loop."""
        scalars = {"i": onnx.TensorProto.INT64, "going": onnx.TensorProto.BOOL, "on": onnx.TensorProto.BOOL}

        def infos(names: list[str]) -> list[onnx.ValueInfoProto]:
            double = onnx.TensorProto.DOUBLE
            typed = [(n, scalars.get(n, double), [] if n in scalars else [None, None]) for n in names]
            return [onnx.helper.make_tensor_value_info(*info) for info in typed]

        return onnx.helper.make_graph(nodes, name, infos(given), infos(results))


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


def _branch(graph: _Graph) -> None:
    """A product in one branch, and a product with the same weight, or another one, in the other."""
    left = graph.pick(lambda shape: isinstance(shape[1], int)) or ""
    rows, columns = graph.shapes[left]
    assert isinstance(columns, int)
    count = len(graph.nodes)
    branches = {}
    for name in ("then_branch", "else_branch"):
        product = onnx.helper.make_node("MatMul", [left, graph.weight(columns, columns)], [f"{name}{count}"])
        branches[name] = graph.inner(name, [product], [], [f"{name}{count}"])
    graph.add("If", ["given"], (rows, columns), **branches)


def _loop(graph: _Graph) -> None:
    """Products with one weight, as many as the caller says."""
    value = graph.pick(lambda shape: isinstance(shape[1], int)) or ""
    columns = graph.shapes[value][1]
    assert isinstance(columns, int)
    weight = graph.weight(columns, columns)
    nodes = [
        onnx.helper.make_node("Identity", ["going"], ["on"]),
        onnx.helper.make_node("MatMul", ["carried", weight], ["next"]),
    ]
    body = graph.inner("body", nodes, ["i", "going", "carried"], ["on", "next"])
    graph.add("Loop", ["count", "", value], graph.shapes[value], body=body)


def _times(size: Size, factor: int) -> Size:
    return size * factor if isinstance(size, int) else (size[0], size[1] * factor)


_STEPS = (_unary, _binary, _binary, _product, _product, _transpose, _reshape, _concat, _again)


@st.composite
def random_models(draw: st.DrawFn, inside: bool = False) -> onnx.ModelProto:
    """A model of x float64 [n, 4]; what nothing in it uses is an output.

    With `inside` there are branches and loops too, and the inputs `given`, a flag, and `count`, a number of times.
    """
    graph = _Graph(draw, {"x": (("n", 1), 4)})
    graph.weight(4, 4)
    steps = (*_STEPS, _branch, _loop) if inside else _STEPS
    for step in draw(st.lists(st.sampled_from(steps), min_size=5, max_size=12)):
        step(graph)
    used = {name for node in graph.nodes for name in (*node.input, *_captured(node))}
    outputs = [name for name in graph.shapes if name not in used | graph.weights.keys()] or ["x"]
    double = onnx.TensorProto.DOUBLE
    inputs = [onnx.helper.make_tensor_value_info("x", double, ["n", 4])]
    if inside:
        inputs.append(onnx.helper.make_tensor_value_info("given", onnx.TensorProto.BOOL, []))
        inputs.append(onnx.helper.make_tensor_value_info("count", onnx.TensorProto.INT64, []))
    whole = onnx.helper.make_graph(
        graph.nodes,
        "random",
        inputs,
        [onnx.helper.make_tensor_value_info(name, double, [None, None]) for name in outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in graph.weights.items()],
    )
    return onnx.helper.make_model(whole, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)


def _captured(node: onnx.NodeProto) -> list[str]:
    """What the graphs inside a node take from around it."""
    return [name for attribute in node.attribute for inner in attribute.g.node for name in inner.input]
