from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.export import Dim, ExportedProgram

from passes.dialect import LOOP

Body = Callable[..., tuple[torch.Tensor, ...]]


class Looped(torch.nn.Module):
    """A loop over a body with one operand, a weight float32 [1, 3]."""

    def __init__(self, body: Body, *, conditional: bool = False) -> None:
        super().__init__()
        self.register_buffer("w", torch.tensor([[1.0, 2.0, 3.0]]))
        self.body = body
        self.conditional = conditional

    def forward(self, count: torch.Tensor, *carried: torch.Tensor) -> tuple[torch.Tensor, ...]:
        going = count > 0 if self.conditional else None
        return LOOP(self.body, count, going, carried, (self.get_buffer("w"),))


def exported(module: torch.nn.Module, *carried: torch.Tensor) -> ExportedProgram:
    dynamic: dict[str, Any] = {"count": None, "carried": tuple({0: Dim.AUTO} for _ in carried)}
    return torch.export.export(module, (torch.tensor(3), *carried), dynamic_shapes=dynamic, strict=False)


def sizes_of(program: ExportedProgram) -> list[list[str]]:
    (node,) = (node for node in program.graph.nodes if node.target is LOOP)
    return [[str(size) for size in value.shape] for value in node.meta["val"]]


def grow(number: torch.Tensor, x: torch.Tensor, y: torch.Tensor, w: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """x grows by a row, y stays; rows are the number and y."""
    longer = torch.cat([x, w * (number + 1)])
    return longer.sum() < 100, longer, y + number, number.to(torch.float32), y * w


def grown(count: int, x: torch.Tensor, y: torch.Tensor, limit: float) -> tuple[torch.Tensor, ...]:
    numbers, rows = [torch.zeros(0)], [torch.zeros(0, *y.shape)]
    w, step = torch.tensor([[1.0, 2.0, 3.0]]), 0
    while step < count and (limit == float("inf") or step == 0 or x.sum() < limit):
        numbers.append(torch.tensor([float(step)]))
        rows.append((y * w)[None])
        x, y, step = torch.cat([x, w * (step + 1)]), y + step, step + 1
    return x, y, torch.cat(numbers), torch.cat(rows)


@pytest.mark.parametrize("conditional", [False, True])
def test_a_body_runs_as_often_as_count_and_condition_say(conditional: bool) -> None:
    program = exported(Looped(grow, conditional=conditional), torch.ones(4, 3), torch.ones(2, 3))
    for decomposed in (program, program.run_decompositions({})):
        for count, rows in ((1, 4), (5, 2), (9, 1), (40, 7)):
            x, y = torch.randn(rows, 3), torch.randn(rows + 1, 3)
            found = decomposed.module()(torch.tensor(count), x, y)
            expected = grown(count, x, y, 100 if conditional else float("inf"))
            for one, other in zip(found, expected, strict=True):
                torch.testing.assert_close(one, other)


def test_no_iteration_gives_back_what_came_in_and_no_rows() -> None:
    program = exported(Looped(grow), torch.ones(4, 3), torch.ones(2, 3)).module()
    x, y = torch.randn(5, 3), torch.randn(3, 3)
    last, same, numbers, rows = program(torch.tensor(0), x, y)
    torch.testing.assert_close((last, same), (x, y))
    assert numbers.shape == (0,)
    assert rows.shape == (0, 0, 3), "a size that differs from request to request is not known without a row"


def test_sizes_that_change_and_numbers_of_rows_are_symbols_of_their_own() -> None:
    x, y, numbers, rows = sizes_of(exported(Looped(grow), torch.ones(4, 3), torch.ones(2, 3)))
    assert x[0].startswith("u")
    assert y[0].startswith("s"), "what stays as large as it was has the size of what came in"
    assert x[1] == y[1] == "3"
    assert numbers[0] == rows[0]
    assert numbers[0].startswith("u")
    assert numbers[0] != x[0]
    assert rows[1:] == y


class Sized(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        def body(number: torch.Tensor, total: torch.Tensor, given: torch.Tensor) -> tuple[torch.Tensor, ...]:
            total = total + torch.ops.aten.index.Tensor(given, [number])
            return torch.ones((), dtype=torch.bool), total, total

        return LOOP(body, x.shape[0], None, (torch.zeros(3),), (x,))


def test_of_a_count_that_is_a_size_the_rows_are_as_many() -> None:
    program = torch.export.export(Sized(), (torch.ones(4, 3),), dynamic_shapes=({0: Dim.AUTO},), strict=False)
    _, rows = sizes_of(program)
    assert rows == [str(size) for size in program.graph_module.graph.find_nodes(op="placeholder")[0].meta["val"].shape]
    x = torch.randn(7, 3)
    torch.testing.assert_close(program.module()(x)[1], x.cumsum(0))


def test_the_body_is_a_graph_of_what_it_is_given() -> None:
    program = exported(Looped(grow), torch.ones(4, 3), torch.ones(2, 3))
    (node,) = (node for node in program.graph.nodes if node.target is LOOP)
    body = program.graph_module.get_submodule(node.args[0].target)
    assert isinstance(body, torch.fx.GraphModule)
    assert not list(body.buffers()), "weights come in"
    assert len(body.graph.find_nodes(op="placeholder")) == 1 + 2 + 1


def views(_: torch.Tensor, x: torch.Tensor, w: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return w.sum() > 0, x.view(-1).view(3, 3).t()


def test_a_body_that_takes_views_is_given_tensors_without_gaps() -> None:
    x = torch.randn(3, 3)
    program = torch.export.export(Looped(views), (torch.tensor(3), x), strict=False).module()
    for count in range(4):
        torch.testing.assert_close(program(torch.tensor(count), x.t())[0], x if count % 2 else x.t())


def retyped(_: torch.Tensor, x: torch.Tensor, w: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return w.sum() > 0, x.to(torch.float64)


def deeper(_: torch.Tensor, x: torch.Tensor, w: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return w.sum() > 0, x[None]


@pytest.mark.parametrize(("body", "found"), [(retyped, r"float64\[2, 3\]"), (deeper, r"float32\[1, 2, 3\]")])
def test_what_is_carried_keeps_its_type_and_rank(body: Body, found: str) -> None:
    with pytest.raises(ValueError, match=rf"carries float32\[2, 3\] into its body, and {found} out of it"):
        torch.export.export(Looped(body), (torch.tensor(3), torch.ones(2, 3)), strict=False)


def test_a_loop_that_is_taken_for_endless_is_not_run_to_its_end() -> None:
    def on(number: torch.Tensor, x: torch.Tensor, w: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return number >= 0, x + w

    with pytest.raises(ValueError, match="goes on for 100000 iterations"):
        LOOP(on, 1 << 20, None, (torch.ones(1, 3),), (torch.ones(1, 3),))
