"""What the axis maps claim, held against the operators themselves: change one element, and see which results move."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from passes.axis_maps import LAST, WHOLE, axis_map
from passes.graph_builder import values_of

Tensors = tuple[torch.Tensor, ...]


def _floats(*shapes: tuple[int, ...]) -> Tensors:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.rand(shape, generator=generator) + 0.5 for shape in shapes)


CASES: dict[str, tuple[Callable[..., torch.Tensor], Tensors]] = {
    "add": (lambda a, b: a + b, _floats((2, 3, 4), (3, 1))),
    "where": (lambda a, b: torch.where(a > 1, a, b), _floats((2, 3, 4), (4,))),
    "masked_fill": (lambda a, b: a.masked_fill(b > 1, 0.0), _floats((2, 3, 4), (3, 4))),
    "cast": (lambda a: a.to(torch.float64), _floats((2, 3))),
    "softmax": (lambda a: torch.softmax(a, 1), _floats((2, 3, 4))),
    "cumsum": (lambda a: torch.cumsum(a, -1), _floats((2, 3, 4))),
    "layer_norm": (lambda a, w: F.layer_norm(a, (4,), w), _floats((2, 3, 4), (4,))),
    "mean": (lambda a: a.mean(1), _floats((2, 3, 4))),
    "mean of two, kept": (lambda a: a.mean((0, 2), keepdim=True), _floats((2, 3, 4))),
    "argmax": (lambda a: a.argmax(1), _floats((2, 3, 4))),
    "matmul": (torch.matmul, _floats((2, 3, 4), (2, 4, 5))),
    "matmul, broadcast": (torch.matmul, _floats((6, 2, 3, 4), (2, 4, 5))),
    "matmul of a vector": (torch.matmul, _floats((2, 3, 4), (4,))),
    "vector times matrix": (torch.matmul, _floats((4,), (2, 4, 5))),
    "bmm": (torch.bmm, _floats((2, 3, 4), (2, 4, 5))),
    "linear": (F.linear, _floats((2, 3, 4), (5, 4), (5,))),
    "addmm": (torch.addmm, _floats((5,), (3, 4), (4, 5))),
    "baddbmm": (torch.baddbmm, _floats((2, 3, 5), (2, 3, 4), (2, 4, 5))),
    "einsum": (lambda a, b: torch.einsum("bthd,bshd->bhts", a, b), _floats((2, 3, 4, 5), (2, 6, 4, 5))),
    "attention": (F.scaled_dot_product_attention, _floats((2, 3, 4, 5), (2, 3, 6, 5), (2, 3, 6, 7), (4, 6))),
    "cat": (lambda a, b: torch.cat([a, b], 1), _floats((2, 3, 4), (2, 5, 4))),
    "stack": (lambda a, b: torch.stack([a, b], 1), _floats((2, 3), (2, 3))),
    "chunk": (lambda a: torch.chunk(a, 2, 2)[1], _floats((2, 3, 4))),
    "unbind": (lambda a: a.unbind(1)[2], _floats((2, 3, 4))),
    "select": (lambda a: a.select(1, 1), _floats((2, 3, 4))),
    "select the last": (lambda a: a.select(1, -1), _floats((2, 3, 4))),
    "slice": (lambda a: a[:, 1:], _floats((2, 3, 4))),
    "slice the last": (lambda a: a[:, -1:], _floats((2, 3, 4))),
    "permute": (lambda a: a.permute(2, 0, 1), _floats((2, 3, 4))),
    "transpose": (lambda a: a.transpose(0, -1), _floats((2, 3, 4))),
    "t": (lambda a: a.t(), _floats((2, 3))),
    "unsqueeze": (lambda a: a.unsqueeze(-2), _floats((2, 3, 4))),
    "squeeze": (lambda a: a.squeeze(1), _floats((2, 1, 4))),
    "expand": (lambda a: a.expand(5, 2, 3, 4), _floats((2, 1, 4))),
    "repeat": (lambda a: a.repeat(5, 1, 3, 1), _floats((2, 1, 4))),
    "repeat of several": (lambda a: a.repeat(1, 2), _floats((2, 3))),
    "ones like": (torch.ones_like, _floats((2, 3))),
    "index": (lambda a, i: a[:, (i * 2).long() % 3], _floats((2, 3, 4), (5, 6))),
    "index of two axes": (lambda a, i, j: a[i.long() % 2, :, j.long()], _floats((2, 3, 4), (5, 1), (1, 6))),
    "index_select": (lambda a, i: a.index_select(1, (i * 2).long() % 3), _floats((2, 3, 4), (5,))),
    "embedding": (lambda w, i: F.embedding((i * 2).long() % 3, w), _floats((3, 4), (5, 6))),
    "gather": (lambda a, i: a.gather(1, (i * 2).long() % 3), _floats((2, 3, 4), (2, 5, 4))),
    "an operator without a rule": (lambda a: a.flip(0), _floats((2, 3))),
}


class _Module(torch.nn.Module):
    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        return self.function(*tensors)


@pytest.mark.parametrize("name", CASES)
def test_a_result_needs_no_more_of_an_operand_than_its_map_says(name: str) -> None:
    function, tensors = CASES[name]
    program = torch.export.export(_Module(function), tensors, strict=False)
    inner = dict(zip(program.graph.find_nodes(op="placeholder"), tensors, strict=True))
    computations = [node for node in program.graph.nodes if node.op == "call_function"]
    whole = function(*tensors)
    for operand, value in inner.items():
        for axis in range(value.dim()):
            routes = _routes(operand, axis, computations)
            for element in range(value.shape[axis]):
                changed = value.clone()
                changed.select(axis, element).mul_(1.7)
                moved = function(*(changed if n is operand else v for n, v in inner.items())) != whole
                _hold(routes, moved, element, value.shape[axis])


def _routes(operand: torch.fx.Node, axis: int, computations: list[torch.fx.Node]) -> set[int]:
    """Where an axis of an input is found in the result: its axes, WHOLE, or LAST."""
    at: dict[torch.fx.Node, set[int]] = {operand: {axis}}
    for node in computations:
        if not values_of(node) or not any(n in at for n in node.all_input_nodes):
            continue
        axes = axis_map(node).operands
        found: set[int] = set()
        for source in node.all_input_nodes:
            for place in at.get(source, ()):
                found.add(place if place < 0 else axes[source][place])
        at[node] = found
    return at[computations[-1]]


def _hold(routes: set[int], moved: torch.Tensor, element: int, size: int) -> None:
    if WHOLE in routes:
        return
    if routes == {LAST}:
        assert element == size - 1 or not moved.any()
        return
    for axis in routes:
        if moved.shape[axis] != size:
            assert size == 1, "a size of one is broadcast"
            continue
        others = [i for i in range(size) if i != element]
        assert not moved.index_select(axis, torch.tensor(others, dtype=torch.int64)).any()
