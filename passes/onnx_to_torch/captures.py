"""What a subgraph takes from the graph around it, when it has to become a function of its operands alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import onnx_ir as ir
import torch
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

from passes.onnx_to_torch.values import Carried, Known, Value

Operand: TypeAlias = "torch.Tensor | torch.SymInt"


@dataclass(frozen=True, eq=False)
class Captures:
    """What a branch can see of what is around it.

    `values` are those of the enclosing graphs that it names, `weights` all weights by name, `sizes` the symbols of the
    model's inputs, which known values among `values` may be made of.
    """

    values: Mapping[ir.Value, Value]
    weights: Mapping[str, torch.Tensor]
    sizes: Sequence[torch.SymInt]

    def operands(self) -> tuple[Operand, ...]:
        """Tensors, each once, and symbols. Known values are no operands: they stay known inside."""
        return (*{id(tensor): tensor for tensor in self._tensors()}.values(), *self._symbols())

    def inside(self, operands: Sequence[Operand]) -> Captures:
        """The same with operands in place of what they stand for."""
        given = dict(zip({id(tensor): None for tensor in self._tensors()}, operands, strict=False))

        def stand_in(tensor: torch.Tensor) -> torch.Tensor:
            found = given[id(tensor)]
            assert isinstance(found, torch.Tensor)
            return found

        return Captures(
            values={name: rebuilt(value, map(stand_in, tensors_in(value))) for name, value in self.values.items()},
            weights={name: stand_in(tensor) for name, tensor in self.weights.items()},
            sizes=self.sizes,
        )

    @property
    def distinct_sizes(self) -> tuple[torch.SymInt, ...]:
        """The sizes, each once: tracing may have found two symbols equal that were not known to be."""
        return _distinct(self.sizes)

    def _symbols(self) -> tuple[torch.SymInt, ...]:
        """The sizes and, as the inputs' do not tell them, those among known values that come from data or a loop."""
        known = [element for value in self.values.values() if isinstance(value, Known) for element in value.elements]
        told = [size for size in known if isinstance(size, torch.SymInt) and free_unbacked_symbols(size)]
        return _distinct([*self.sizes, *told])

    def _tensors(self) -> Iterator[torch.Tensor]:
        yield from self.weights.values()
        for value in self.values.values():
            yield from tensors_in(value)


def _distinct(sizes: Sequence[torch.SymInt]) -> tuple[torch.SymInt, ...]:
    return tuple({str(size): size for size in sizes}.values())


def tensors_in(value: Value) -> list[torch.Tensor]:
    """The tensors that a value is made of: none of a known one, all of a sequence."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, Carried):
        return [value.tensor]
    return value if isinstance(value, list) else []


def rebuilt(value: Value, tensors: Iterator[torch.Tensor]) -> Value:
    """The value with other tensors in it, in the order of `tensors_in`."""
    if isinstance(value, torch.Tensor):
        return next(tensors)
    if isinstance(value, Carried):
        return Carried(next(tensors), value.dtype)
    return [next(tensors) for _ in value] if isinstance(value, list) else value


def kind_of(value: Value) -> object:
    """What two values must agree in for one to be able to stand for the other."""
    logical = value.dtype if isinstance(value, Carried) else None
    return isinstance(value, list), logical, [(tensor.dtype, tensor.dim()) for tensor in tensors_in(value)]


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
