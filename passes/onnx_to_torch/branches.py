"""An If whose condition is known only when the model runs, as torch.cond: both branches are traced.

A branch of torch.cond is a function of its operands and of nothing else, so whatever a branch takes from around
it is handed in: values of the enclosing graph, weights, and the symbols of sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import onnx_ir as ir
import torch

from artifacts.errors import SourceError, UnsupportedError
from passes.onnx_to_torch.values import Value, to_tensor

Operand: TypeAlias = "torch.Tensor | torch.SymInt"

MOST_ATTEMPTS = 16
"""Ways through branches that are tried before they count as impossible to trace."""


class UnlikeBranchesError(Exception):
    """The branches' results differ in number, element type or rank, so no one tensor can stand for them."""


@dataclass(frozen=True, eq=False)
class Outside:
    """What a branch can see of what is around it.

    `values` are those of the enclosing graphs that it names, `weights` all weights by name, `sizes` symbols that
    known values among `values` may be made of.
    """

    values: Mapping[ir.Value, Value]
    weights: Mapping[str, torch.Tensor]
    sizes: Sequence[torch.SymInt]

    def operands(self) -> tuple[Operand, ...]:
        """Tensors and symbols in a fixed order. Known values are no operands: they stay known inside."""
        return (*self.weights.values(), *self._tensors(), *self.sizes)

    def inside(self, operands: Sequence[Operand]) -> Outside:
        """The same with operands in place of what they stand for."""
        given = iter(operands)

        def tensor() -> torch.Tensor:
            found = next(given)
            assert isinstance(found, torch.Tensor)
            return found

        weights = {name: tensor() for name in self.weights}
        values: dict[ir.Value, Value] = {}
        for name, value in self.values.items():
            if isinstance(value, torch.Tensor):
                values[name] = tensor()
            else:
                values[name] = [tensor() for _ in value] if isinstance(value, list) else value
        return Outside(values, weights, self.sizes)

    def _tensors(self) -> Iterator[torch.Tensor]:
        for value in self.values.values():
            if isinstance(value, torch.Tensor):
                yield value
            elif isinstance(value, list):
                yield from value


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


RunBranch: TypeAlias = Callable[[ir.Graph, Outside, Choices], list[Value]]


def run_either(
    condition: torch.Tensor | torch.SymBool, branches: tuple[ir.Graph, ir.Graph], outside: Outside, run: RunBranch
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
        attempt = _Attempt(branches, outside, run, (ways[0][-1], ways[1][-1]))
        try:
            # Not torch.cond: it has the branches compiled, and the compiler cannot read an importer.
            return list(torch.ops.higher_order.cond(flag, attempt.branch(0), attempt.branch(1), outside.operands()))
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
        outside: Outside,
        run: RunBranch,
        prescribed: tuple[tuple[bool, ...], tuple[bool, ...]],
    ) -> None:
        self.branches = branches
        self.outside = outside
        self.run = run
        self.prescribed = prescribed
        self.running = 0
        self.choices = Choices()
        self.kinds: dict[int, list[tuple[torch.dtype, int]]] = {}

    def branch(self, number: int) -> Callable[..., tuple[torch.Tensor, ...]]:
        """The function that cond traces."""

        def traced(*operands: Operand) -> tuple[torch.Tensor, ...]:
            self.running, self.choices = number, Choices(self.prescribed[number])
            values = self.run(self.branches[number], self.outside.inside(operands), self.choices)
            results = [to_tensor(value) for value in values]
            self.kinds[number] = [(result.dtype, result.dim()) for result in results]
            if len(self.kinds) == 2 and self.kinds[0] != self.kinds[1]:
                raise UnlikeBranchesError
            # cond wants results that share no memory with an operand.
            return tuple(result.clone() for result in results)

        return traced


def free_values(graphs: Sequence[ir.Graph]) -> list[ir.Value]:
    """Values that graphs use and do not compute, in the order of their first use."""
    own: set[ir.Value] = set()
    used: dict[ir.Value, None] = {}
    for graph in graphs:
        own.update(graph.inputs, graph.initializers.values())
        for node in ir.traversal.RecursiveGraphIterator(graph):
            own.update(node.outputs)
            used.update(dict.fromkeys(value for value in node.inputs if value is not None))
            for attribute in node.attributes.values():
                if attribute.type == ir.AttributeType.GRAPH:
                    inner = attribute.as_graph()
                    own.update(inner.inputs, inner.initializers.values())
                    used.update(dict.fromkeys(inner.outputs))
        used.update(dict.fromkeys(graph.outputs))
    return [value for value in used if value not in own]
