"""What the recurrent operators share: the shapes of their results, and the walk over time that is their kernel.

The operators follow ONNX's of the same names, layout 0: time is the first axis, batch the second. Unlike ATen's
they keep time symbolic through torch.export, and they have the directions, activations, clipping, peepholes and
row lengths that ATen's lack. All results are always computed; an emitter names those that have users.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import torch

from passes.dialect.activations import Activations, Apply

States: TypeAlias = tuple[torch.Tensor, ...]
"""The state of one direction, each [batch, hidden]; the first is what the operator puts out at every step."""


@dataclass(frozen=True, eq=False)
class Operands:
    """The tensors of a recurrent operator with G gates.

    `x` is [time, batch, features], `w` [directions, G*hidden, features], `r` [directions, G*hidden, hidden], `b`
    [directions, 2*G*hidden] (the input's half, then the state's), `lengths` the number of steps of each row,
    int32 [batch], `initial` each state before the first step, [directions, batch, hidden]. None stands for zeros,
    and for lengths for no row ending early.
    """

    x: torch.Tensor
    w: torch.Tensor
    r: torch.Tensor
    b: torch.Tensor | None
    lengths: torch.Tensor | None
    initial: tuple[torch.Tensor | None, ...]
    direction: str


@dataclass(frozen=True, eq=False)
class Direction:
    """What a step needs of one direction: state weights [G*hidden, hidden], their bias [G*hidden], functions."""

    number: int
    r: torch.Tensor
    bias: torch.Tensor | None
    functions: tuple[Apply, ...]

    def recurrent(self, h: torch.Tensor, gates: slice = slice(None)) -> torch.Tensor:
        """The state's part [batch, rows] of the gates whose rows of the weights are named."""
        product = torch.matmul(h, self.r[gates].T)
        return product if self.bias is None else product + self.bias[gates]


Cell: TypeAlias = Callable[[Direction, torch.Tensor, States], States]
"""One step: a direction, the input's part of its gates [batch, G*hidden], the state before; gives the one after."""


def fake_results(operands: Operands) -> list[torch.Tensor]:
    """Results with shapes and types alone; time and batch stay the symbols that they are.

    Raises ValueError for ranks and fixed sizes that cannot be right.
    """
    _check(operands)
    x = operands.x
    time, batch, _ = x.shape
    directions, _, hidden = operands.r.shape
    states = (x.new_empty(directions, batch, hidden) for _ in operands.initial)
    return [x.new_empty(time, directions, batch, hidden), *states]


def _check(operands: Operands) -> None:
    states = (("initial state", state) for state in operands.initial)
    for name, tensor in (("x", operands.x), ("w", operands.w), ("r", operands.r), *states):
        if tensor is not None and tensor.dim() != 3:
            raise ValueError(f"{name} has rank {tensor.dim()}, which must be 3")
    directions = operands.r.shape[0]
    wanted = 2 if operands.direction == "bidirectional" else 1
    if isinstance(directions, int) and directions != wanted:
        raise ValueError(f"weights for {directions} directions, where {operands.direction} has {wanted}")


def recur(operands: Operands, activations: Activations, cell: Cell) -> list[torch.Tensor]:
    """The output at every step, [time, directions, batch, hidden], and each state after the last one.

    Past its length a row's output is 0. A row without any step ends in zeros: ONNX does not say what it ends in,
    and ONNX Runtime has it so. Raises ValueError as `fake_results` does.
    """
    _check(operands)
    # One product for all steps, so that a step is left with the product that depends on the state.
    walks = [
        _walk(
            torch.matmul(operands.x, w.T) if bias is None else torch.matmul(operands.x, w.T) + bias,
            operands,
            direction,
            cell,
        )
        for direction, w, bias in _directions(operands, activations.functions())
    ]
    outputs, *finals = zip(*walks, strict=True)
    return [torch.stack(outputs, 1), *map(torch.stack, finals)]


def _directions(
    operands: Operands, functions: tuple[Apply, ...]
) -> Iterator[tuple[Direction, torch.Tensor, torch.Tensor | None]]:
    """Each direction with its input weights and their bias."""
    count = operands.r.shape[0]
    each = len(functions) // count
    for number in range(count):
        biases = (None, None) if operands.b is None else operands.b[number].chunk(2)
        chosen = functions[number * each : (number + 1) * each]
        yield Direction(number, operands.r[number], biases[1], chosen), operands.w[number], biases[0]


def _walk(projected: torch.Tensor, operands: Operands, direction: Direction, cell: Cell) -> States:
    """The output [time, batch, hidden] of one direction, and each state [batch, hidden] after its last step."""
    hidden = direction.r.shape[-1]
    zeros = projected.new_zeros(projected.shape[1], hidden)
    states = tuple(zeros if state is None else state[direction.number] for state in operands.initial)
    lengths = operands.lengths
    rows = projected.unbind()
    order = range(len(rows))
    outputs = [zeros] * len(rows)
    # Rows that are shorter than the longest start late when time runs backward: their state waits for its length.
    for step in reversed(order) if operands.direction == "reverse" or direction.number else order:
        after = cell(direction, rows[step], states)
        if lengths is None:
            states, outputs[step] = after, after[0]
            continue
        runs = (lengths > step).unsqueeze(1)
        states = tuple(torch.where(runs, new, old) for new, old in zip(after, states, strict=True))
        outputs[step] = torch.where(runs, after[0], zeros)
    if not rows:
        return (projected.new_zeros(0, *zeros.shape), *(zeros for _ in states))
    if lengths is not None:
        states = tuple(torch.where((lengths > 0).unsqueeze(1), state, zeros) for state in states)
    return (torch.stack(outputs), *states)
