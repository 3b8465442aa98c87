"""Recurrences as a pass meets them in a graph: which argument is time, what goes in and comes out as state."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch.fx import Node
from torch.fx.node import Argument

from passes import dialect

_INITIAL_STATES: Mapping[object, tuple[str, ...]] = MappingProxyType(
    {dialect.GRU: ("initial_h",), dialect.LSTM: ("initial_h", "initial_c"), dialect.RNN: ("initial_h",)}
)


@dataclass(frozen=True, eq=False)
class Recurrence:
    """A node of the body that is a recurrence over time.

    `x` is [time, batch, features]. `initial` holds the arguments that are states before the first step, None for
    zeros, and `finals` the nodes that take the states after the last one, None where nobody does; a state is
    [directions, batch, hidden]. `output` is the node that takes the output of every step, [time, directions,
    batch, hidden].
    """

    node: Node
    x: Node
    lengths: Argument
    initial: tuple[Argument, ...]
    direction: str
    output: Node | None
    finals: tuple[Node | None, ...]

    @property
    def is_causal(self) -> bool:
        """True if an output depends on no later input, so that the recurrence can go on from its final states."""
        return self.direction == "forward" and self.lengths is None


def recurrence(node: Node) -> Recurrence | None:
    """The node as a recurrence, or None if it is none."""
    if node.op != "call_function" or node.target not in _INITIAL_STATES:
        return None
    assert isinstance(node.target, torch._ops.OpOverload)
    names = [argument.name for argument in node.target._schema.arguments]
    arguments: dict[str, Argument] = dict(zip(names, node.args, strict=False)) | dict(node.kwargs)
    x, direction = arguments["x"], arguments["direction"]
    assert isinstance(x, Node)
    initial = tuple(arguments[name] for name in _INITIAL_STATES[node.target])
    results = {user.args[1]: user for user in node.users if user.target is operator.getitem}
    return Recurrence(
        node=node,
        x=x,
        lengths=arguments["lengths"],
        initial=initial,
        direction=str(direction),
        output=results.get(0),
        finals=tuple(results.get(position + 1) for position in range(len(initial))),
    )
