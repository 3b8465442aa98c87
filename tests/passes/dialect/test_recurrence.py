from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.export import Dim

from passes import dialect
from passes.dialect.nodes import Recurrence, recurrence
from tests.support.onnx_ops import FEW
from tests.support.recurrences import GATES

OPS: dict[str, Any] = {"GRU": dialect.GRU, "LSTM": dialect.LSTM, "RNN": dialect.RNN}
FUNCTIONS = {"GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"], "RNN": ["Tanh"]}
STATES = {"GRU": 1, "LSTM": 2, "RNN": 1}
FEATURES, HIDDEN = 3, 4

Tensors = Sequence[torch.Tensor]


def weights(op: str, directions: int = 1) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    gates = GATES[op] * HIDDEN
    shapes = ((directions, gates, FEATURES), (directions, gates, HIDDEN), (directions, 2 * gates))
    return [torch.rand(shape, generator=generator) * 2 - 1 for shape in shapes]


def steps(time: int, batch: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(time, batch, FEATURES, generator=torch.Generator().manual_seed(seed))


def call(
    op: str,
    x: torch.Tensor,
    w: Tensors,
    states: Tensors = (),
    lengths: torch.Tensor | None = None,
    direction: str = "forward",
) -> tuple[torch.Tensor, ...]:
    results: tuple[torch.Tensor, ...] = OPS[op](*arguments(op, x, w, states, lengths, direction))
    return results


def arguments(
    op: str, x: torch.Tensor, w: Tensors, states: Tensors, lengths: torch.Tensor | None, direction: str
) -> tuple[Any, ...]:
    names = FUNCTIONS[op] * (2 if direction == "bidirectional" else 1)
    initial: list[torch.Tensor | None] = [*states] or [None] * STATES[op]
    options: list[Any] = [direction, names, [0.0] * len(names), [0.0] * len(names), None]
    extra: dict[str, list[Any]] = {"GRU": [True], "LSTM": [False], "RNN": []}
    return (x, *w, lengths, *initial, *([None] if op == "LSTM" else []), *options, *extra[op])


def zeros(op: str, batch: int, directions: int = 1) -> list[torch.Tensor]:
    return [torch.zeros(directions, batch, HIDDEN) for _ in range(STATES[op])]


@pytest.mark.parametrize("op", OPS)
@settings(FEW, max_examples=6)
@given(first=st.integers(1, 4), second=st.integers(1, 4), batch=st.integers(1, 3))
def test_the_final_state_is_where_the_next_call_goes_on(op: str, first: int, second: int, batch: int) -> None:
    x, w = steps(first + second, batch), weights(op)
    whole = call(op, x, w)
    head = call(op, x[:first], w)
    tail = call(op, x[first:], w, head[1:])
    torch.testing.assert_close(torch.cat([head[0], tail[0]]), whole[0])
    for got, want in zip(tail[1:], whole[1:], strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("op", OPS)
def test_reverse_is_forward_on_time_reversed(op: str) -> None:
    x, w = steps(5, 2), weights(op)
    forward = call(op, x.flip(0), w)
    reverse = call(op, x, w, direction="reverse")
    torch.testing.assert_close(reverse[0], forward[0].flip(0))
    torch.testing.assert_close(reverse[1:], forward[1:])


@pytest.mark.parametrize("op", OPS)
def test_bidirectional_is_both_side_by_side(op: str) -> None:
    x, w = steps(5, 2), weights(op, 2)
    both = call(op, x, w, direction="bidirectional")
    for number, direction in enumerate(("forward", "reverse")):
        one = call(op, x, [tensor[number : number + 1] for tensor in w], direction=direction)
        torch.testing.assert_close(both[0][:, number : number + 1], one[0])
        for got, want in zip(both[1:], one[1:], strict=True):
            torch.testing.assert_close(got[number : number + 1], want)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("op", OPS)
def test_a_shorter_row_is_as_if_it_were_alone(op: str, direction: str) -> None:
    x, w = steps(5, 3), weights(op)
    lengths = torch.tensor([5, 2, 0], dtype=torch.int32)
    together = call(op, x, w, lengths=lengths, direction=direction)
    for row, length in enumerate([5, 2]):
        alone = call(op, x[:length, row : row + 1], w, direction=direction)
        torch.testing.assert_close(together[0][:length, :, row : row + 1], alone[0])
        torch.testing.assert_close([s[:, row : row + 1] for s in together[1:]], list(alone[1:]))
    assert not together[0][2:, :, 1].any()
    assert not together[0][:, :, 2].any()
    assert not together[1][:, 2].any()


@pytest.mark.parametrize("op", OPS)
def test_without_a_step_there_is_no_output_and_the_state_is_zeros(op: str) -> None:
    results = call(op, steps(0, 2), weights(op), [state + 1 for state in zeros(op, 2)])
    assert results[0].shape == (0, 1, 2, HIDDEN)
    assert not results[1].any()


@pytest.mark.parametrize("op", OPS)
def test_torchs_own_layer_computes_the_same(op: str) -> None:
    """Gates are in another order there: r, z, n in place of z, r, h, and i, f, g, o in place of i, o, f, c."""
    order = {"GRU": [1, 0, 2], "LSTM": [0, 2, 3, 1], "RNN": [0]}[op]
    x, (w, r, b) = steps(5, 2), weights(op)

    def reordered(tensor: torch.Tensor) -> torch.Tensor:
        gates = tensor.chunk(GATES[op])
        return torch.cat([gates[i] for i in order])

    layer = getattr(torch.nn, op)(FEATURES, HIDDEN)
    parts = (reordered(w[0]), reordered(r[0]), *map(reordered, b[0].chunk(2)))
    state = dict(zip(("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"), parts, strict=True))
    layer.load_state_dict(state)
    with torch.no_grad():
        output, final = layer(x)
    results = call(op, x, (w, r, b))
    torch.testing.assert_close(results[0].squeeze(1), output)
    torch.testing.assert_close(list(results[1:]), list(final) if op == "LSTM" else [final])


@pytest.mark.parametrize("op", OPS)
def test_schema_and_fake_kernel_agree_with_the_kernel(op: str) -> None:
    given = arguments(op, steps(3, 2), weights(op), zeros(op, 2), torch.tensor([3, 1], dtype=torch.int32), "forward")
    torch.library.opcheck(OPS[op], given, test_utils=("test_schema", "test_faketensor"))


class Layer(torch.nn.Module):
    def __init__(self, op: str) -> None:
        super().__init__()
        self.op = op
        for name, tensor in zip("wrb", weights(op), strict=True):
            self.register_buffer(name, tensor)

    def forward(self, x: torch.Tensor, *states: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return call(self.op, x, [self.get_buffer(name) for name in "wrb"], states)


def exported(op: str) -> torch.export.ExportedProgram:
    auto = Dim.AUTO
    dynamic = ({0: auto, 1: auto}, tuple({1: auto} for _ in range(STATES[op])))
    return torch.export.export(Layer(op), (steps(4, 2), *zeros(op, 2)), dynamic_shapes=dynamic, strict=False)


@pytest.mark.parametrize("op", OPS)
def test_time_and_batch_stay_symbolic_through_export(op: str) -> None:
    program = exported(op).module()
    for time, batch in ((1, 1), (9, 3)):
        x, states = steps(time, batch), zeros(op, batch)
        torch.testing.assert_close(program(x, *states), Layer(op)(x, *states))


@pytest.mark.parametrize("op", OPS)
def test_a_pass_sees_time_and_states(op: str) -> None:
    graph = exported(op).graph
    found = [view for node in graph.nodes if (view := recurrence(node)) is not None]
    assert len(found) == 1
    view = found[0]
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    results = next(iter(reversed(graph.nodes))).args[0]
    assert view.x is placeholders[3]
    assert view.initial == tuple(placeholders[4:])
    assert (view.output, *view.finals) == tuple(results)
    assert view.direction == "forward"
    assert view.is_causal


def test_what_cannot_go_on_from_its_final_state_is_not_causal() -> None:
    graph = torch.fx.Graph()
    x = graph.placeholder("x")

    def of(direction: str, lengths: torch.fx.Node | None) -> Recurrence:
        names = ["Tanh"] * (2 if direction == "bidirectional" else 1)
        numbers = [0.0] * len(names)
        node = graph.call_function(
            dialect.RNN, (x, x, x, None, lengths, None, direction, names, numbers, numbers, None)
        )
        found = recurrence(node)
        assert found is not None
        return found

    assert of("forward", None).is_causal
    assert not of("reverse", None).is_causal
    assert not of("bidirectional", None).is_causal
    assert not of("forward", x).is_causal
    assert of("forward", None).finals == (None,)
    assert recurrence(x) is None


def test_weights_for_another_direction_are_refused() -> None:
    with pytest.raises(ValueError, match="weights for 1 directions, where bidirectional has 2"), fake():
        call(
            "RNN",
            torch.empty(3, 2, FEATURES),
            [torch.empty_like(tensor) for tensor in weights("RNN")],
            (),
            None,
            "bidirectional",
        )


def fake() -> Any:
    return torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True)
