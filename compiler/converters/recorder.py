"""Record what a module does at the sizes of one sample, whatever Python does with the values in between.

torch.export runs a module on tensors without data, so a module that reads a size out of a tensor cannot be exported.
Here it runs on real data, and the ATen operators that it calls are written down: what it read is a constant then.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes a graph of the operators that are called while it is entered.

    Tensors that come from nowhere (weights, literals) become buffers. `metadata` is asked at every operator for
    what its node's metadata is to hold.
    """

    def __init__(self, inputs: Sequence[torch.Tensor], metadata: Callable[[], Mapping[str, Any]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._graph = torch.fx.Graph()
        self._buffers: dict[str, torch.Tensor] = {}
        self._metadata = metadata
        # By identity; the tensors are kept, so that no other can take the place of one in memory.
        self._nodes: dict[int, tuple[torch.fx.Node, torch.Tensor]] = {}
        for number, tensor in enumerate(inputs):
            self._bind(tensor, self._graph.placeholder(f"input_{number}"))

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call the operator, and write it down if it makes tensors."""
        del types
        result = func(*args, **(kwargs or {}))
        if any(isinstance(item, torch.Tensor) for item in tree_leaves(result)):
            arguments, named = tree_map_only(torch.Tensor, self._node_of, (tuple(args), dict(kwargs or {})))
            self._write(self._graph.call_function(func, arguments, named), result)
        return result

    def module(self, outputs: Sequence[torch.Tensor]) -> torch.fx.GraphModule:
        """What was recorded, as a module that gives these outputs."""
        self._graph.output(tuple(self._node_of(output) for output in outputs))
        self._graph.lint()
        root = torch.nn.Module()
        for name, tensor in self._buffers.items():
            root.register_buffer(name, tensor)
        return torch.fx.GraphModule(root, self._graph)

    def _write(self, node: torch.fx.Node, result: Any) -> None:
        node.meta.update(self._metadata())
        if isinstance(result, torch.Tensor):
            self._bind(result, node)
            return
        for number, item in enumerate(result):
            if isinstance(item, torch.Tensor):
                self._bind(item, self._graph.call_function(operator.getitem, (node, number)))

    def _bind(self, tensor: torch.Tensor, node: torch.fx.Node) -> None:
        self._nodes[id(tensor)] = (node, tensor)

    def _node_of(self, tensor: torch.Tensor) -> torch.fx.Node:
        if id(tensor) not in self._nodes:
            name = f"constant_{len(self._buffers)}"
            self._buffers[name] = tensor.detach()
            self._bind(tensor, self._graph.get_attr(name))
        return self._nodes[id(tensor)][0]
