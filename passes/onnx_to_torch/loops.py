"""A Loop or Scan whose iterations are counted only when the model runs, as the dialect's loop: its body is traced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch

from passes import dialect
from passes.onnx_to_torch.captures import Captures, Operand, kind_of, rebuilt, tensors_in
from passes.onnx_to_torch.known_math import Int, assume, integers
from passes.onnx_to_torch.values import Carried, Known, Value, to_known, to_tensor

RunBody: TypeAlias = Callable[[Known, Sequence[Value], Captures], Sequence[Value]]
"""One iteration: its number and what is carried; gives whether to go on, what is carried on, and the rows."""


class UnsteadyLoopError(Exception):
    """What a loop carries is no tensor, or becomes another kind of one."""


@dataclass(frozen=True, eq=False)
class Times:
    """How often a loop runs: `count` times, None for no limit, and only while it is `going`, bool [].

    None for `going` means that the body has no say in it.
    """

    count: torch.Tensor | Int | None
    going: torch.Tensor | None


def run_loop(times: Times, carried: Sequence[Value], captures: Captures, run: RunBody) -> list[Value]:
    """What is carried after the last iteration, and the rows of each kind along a new first axis.

    Raises UnsteadyLoopError.
    """
    body = _Body(times, [_tensor_like(value) for value in carried], captures, run)
    state = tuple(tensor for value in body.carried for tensor in tensors_in(value))
    found = iter(dialect.LOOP(body, times.count, times.going, state, captures.operands()))
    return [rebuilt(value, found) for value in body.results]


class _Body:
    """The function that the loop traces, more than once. `results` are what it gave last, the condition left out."""

    def __init__(self, times: Times, carried: Sequence[Value], captures: Captures, run: RunBody) -> None:
        self.times = times
        self.carried = carried
        self.captures = captures
        self.run = run
        self.results: Sequence[Value] = ()

    def __call__(self, number: torch.Tensor, *given: Operand) -> tuple[torch.Tensor, ...]:
        count = sum(len(tensors_in(value)) for value in self.carried)
        tensors = (tensor for tensor in given[:count] if isinstance(tensor, torch.Tensor))
        state = [rebuilt(value, tensors) for value in self.carried]
        more, *results = self.run(self._number(number), state, self.captures.inside(given[count:]))
        self.results = [_tensor_like(value) for value in results]
        if [*map(kind_of, self.carried)] != [*map(kind_of, self.results[: len(self.carried)])]:
            raise UnsteadyLoopError("the body changes the type or the rank of what it carries on")
        return (scalar(more), *(tensor for value in self.results for tensor in tensors_in(value)))

    def _number(self, number: torch.Tensor) -> Known:
        """The number of the iteration as a size, so that it can be an index."""
        counted = to_known(number)
        (index,) = integers(counted)
        assume(index >= 0)
        if isinstance(self.times.count, int | torch.SymInt):
            assume(index < self.times.count)
        return counted


def scalar(value: Value) -> torch.Tensor:
    """The one element of a value, of any rank, as a tensor of rank 0."""
    tensor = to_tensor(value)
    return tensor.reshape(()) if tensor.dim() else tensor


def _tensor_like(value: Value) -> Value:
    """A value that can be another one in the next iteration."""
    if isinstance(value, torch.Tensor | Carried):
        return value
    if isinstance(value, Known):
        return value.tensor()
    kind = "an absent value" if value is None else "a sequence" if isinstance(value, list) else "a string"
    raise UnsteadyLoopError(f"{kind} among what it carries or collects")
