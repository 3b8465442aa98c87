"""What the recurrent operators share: their sizes, and the walk over time that is their reference kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch

States: TypeAlias = tuple[torch.Tensor, ...]
"""The state of one direction, each [batch, hidden]; the first is what the operator puts out at every step."""

Cell: TypeAlias = Callable[[torch.Tensor, States], States]
"""One step: the input's projection [batch, gates*hidden] and the state before, to the state after."""


def fake_outputs(x: torch.Tensor, w: torch.Tensor, r: torch.Tensor, states: int) -> list[torch.Tensor]:
    """Outputs that have shapes and types only; time and batch stay the symbols that they are.

    Raises ValueError for ranks that no size could make right.
    """
    ranks = (x.dim(), w.dim(), r.dim())
    if ranks != (3, 3, 3):
        raise ValueError(f"x, w and r have ranks {', '.join(map(str, ranks))}, where each must be 3")
    time, batch, _ = x.shape
    directions, _, hidden = r.shape
    return [
        x.new_empty(time, directions, batch, hidden),
        *(x.new_empty(directions, batch, hidden) for _ in range(states)),
    ]


def recur(
    x: torch.Tensor,
    w: torch.Tensor,
    input_bias: torch.Tensor | None,
    lengths: torch.Tensor | None,
    initial: Sequence[torch.Tensor | None],
    direction: str,
    cells: Sequence[Cell],
) -> list[torch.Tensor]:
    """Walk over time in every direction.

    Args:
        x: the input, [time, batch, features].
        w: input weights, [directions, gates*hidden, features].
        input_bias: [directions, gates*hidden].
        lengths: steps that each row has, int32 [batch]; beyond them the output is 0.
        initial: one state each, [directions, batch, hidden]; None is zeros.
        direction: forward, reverse or bidirectional.
        cells: the step of each direction.

    Returns:
        the output at every step, [time, directions, batch, hidden], then each state after the last step.
    """
    outputs, finals = [], []
    for number, cell in enumerate(cells):
        # One product for all steps: a step is left with the product that depends on the state.
        projected = torch.matmul(x, w[number].T)
        if input_bias is not None:
            projected = projected + input_bias[number]
        start = tuple(_start(state, number, projected, len(projected[0, 0]) if state is None else 0) for state in initial)
        backward = direction == "reverse" or number == 1
        output, final = _walk(projected, start, lengths, cell, backward)
        outputs.append(output)
        finals.append(final)
    return [torch.stack(outputs, 1), *(torch.stack(states) for states in zip(*finals, strict=True))]
