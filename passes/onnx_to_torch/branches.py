"""An If whose condition is known only when the model runs, as torch.cond: both branches are traced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import onnx_ir as ir
import torch
from torch.fx.experimental.proxy_tensor import disable_proxy_modes_tracing

from artifacts.errors import SourceError, UnsupportedError
from passes.onnx_to_torch.captures import Captures, Operand, kind_of, rebuilt, tensors_in
from passes.onnx_to_torch.known_math import Int, always, product
from passes.onnx_to_torch.values import Known, Value

MOST_ATTEMPTS = 16
"""Ways through branches that are tried before they count as impossible to trace."""


class UnlikeBranchesError(Exception):
    """The branches' results differ in number, element type or rank, so no one tensor can stand for them."""


class MergedSizesError(Exception):
    """Tracing a branch showed that two of the sizes that it was given are one: torch wants operands to differ."""


@dataclass
class Choices:
    """Which way every If went that follows one of its branches only, in the order they were met.

    The first ones are prescribed; after those the likely way is taken.
    """

    prescribed: tuple[bool, ...] = ()
    taken: list[bool] = field(default_factory=list)

    def take(self, likely: bool) -> bool:
        """The way to go at the next such If."""
        way = self.prescribed[len(self.taken)] if len(self.taken) < len(self.prescribed) else likely
        self.taken.append(way)
        return way

    def others(self) -> list[tuple[bool, ...]]:
        """Prescriptions of the ways that part from this one after what was prescribed, the latest parting last."""
        return [(*self.taken[:i], not self.taken[i]) for i in range(len(self.prescribed), len(self.taken))]


RunBranch: TypeAlias = Callable[[ir.Graph, Captures, Choices], list[Value]]


def run_either(
    condition: torch.Tensor | torch.SymBool, branches: tuple[ir.Graph, ir.Graph], captures: Captures, run: RunBranch
) -> list[Value]:
    """Results of the first branch if the condition holds, else of the second; `run` traces one.

    Inside a branch that the sample does not take, what is likely for the sample may be impossible: silero_vad's
    branch for 8 kHz fails on every window of 16 kHz. So where a branch cannot be traced, other ways through it are
    tried. Raises UnlikeBranchesError, or the SourceError of a branch that no way leads through.
    """
    flag = condition.reshape(()) if isinstance(condition, torch.Tensor) else condition
    ways: list[list[tuple[bool, ...]]] = [[()], [()]]
    failures: list[SourceError] = []
    while all(ways) and len(failures) < MOST_ATTEMPTS:
        attempt = _Attempt(branches, captures, run, (ways[0][-1], ways[1][-1]))
        try:
            return attempt.run_cond(flag)
        except MergedSizesError:
            captures = replace(captures, sizes=captures.distinct_sizes)
            continue
        except UnsupportedError:  # another way might do without, but this is what the model needs
            raise
        except SourceError as error:
            failures.append(error)
        ways[attempt.running].pop()
        ways[attempt.running] += attempt.choices.others()
    raise failures[0]


class _Attempt:
    """One call of cond, which may run a branch more than once; `running` is the branch that it ran last."""

    def __init__(
        self,
        branches: tuple[ir.Graph, ir.Graph],
        captures: Captures,
        run: RunBranch,
        prescribed: tuple[tuple[bool, ...], tuple[bool, ...]],
    ) -> None:
        self.branches = branches
        self.captures = captures
        self.run = run
        self.prescribed = prescribed
        self.running = 0
        self.choices = Choices()
        self.results: dict[int, list[Value]] = {}

    def run_cond(self, flag: torch.Tensor | torch.SymBool) -> list[Value]:
        """The results, of the kinds that the branches give."""
        # Not torch.cond: it has the branches compiled, and the compiler cannot read an importer.
        found = torch.ops.higher_order.cond(flag, self._branch(0), self._branch(1), self.captures.operands())
        traced = (tensor for value in self.results[0] for tensor in tensors_in(value))
        shaped = (new if _is_dense(old) else new.reshape(old.shape) for new, old in zip(found, traced, strict=True))
        return [rebuilt(value, shaped) for value in self.results[0]]

    def _branch(self, number: int) -> Callable[..., tuple[torch.Tensor, ...]]:
        """The function that cond traces."""

        def traced(*operands: Operand) -> tuple[torch.Tensor, ...]:
            self.running, self.choices = number, Choices(self.prescribed[number])
            values = self.run(self.branches[number], self.captures.inside(operands), self.choices)
            if len(self.captures.distinct_sizes) < len(self.captures.sizes):
                raise MergedSizesError
            self.results[number] = [_copied(value) for value in values]
            if len(self.results) == 2:
                with disable_proxy_modes_tracing():  # sizes inside the other branch are nothing to this one's graph
                    _require_alike(self.results[0], self.results[1])
            tensors = (tensor for value in self.results[number] for tensor in tensors_in(value))
            return tuple(tensor if _is_dense(tensor) else tensor.reshape(-1) for tensor in tensors)

        return traced


def _copied(result: Value) -> Value:
    """A result in memory of its own: cond wants none that is shared with an operand."""
    value = result.tensor() if isinstance(result, Known) else result
    return rebuilt(value, iter([t.clone(memory_format=torch.contiguous_format) for t in tensors_in(value)]))


def _is_dense(tensor: torch.Tensor) -> bool:
    """True if strides are products of sizes to the letter, as cond wants them.

    Those of a tensor that may be empty are not, because an axis of size 0 counts as one of size 1 there; such a
    tensor leaves its branch as one axis.
    """
    expected: list[Int] = [product(tensor.shape[axis + 1 :]) for axis in range(tensor.dim())]
    return [str(stride) for stride in tensor.stride()] == [str(stride) for stride in expected]


def _require_alike(first: list[Value], second: list[Value]) -> None:
    if [*map(kind_of, first)] != [*map(kind_of, second)]:
        raise UnlikeBranchesError
    for a, b in zip(map(tensors_in, first), map(tensors_in, second), strict=True):
        for one, other in zip(a, b, strict=True):
            same = all(always(m == n) for m, n in zip(one.shape, other.shape, strict=True))
            if not same and not (_is_dense(one) and _is_dense(other)):
                raise ValueError(f"the branches give shapes {list(one.shape)} and {list(other.shape)}")
