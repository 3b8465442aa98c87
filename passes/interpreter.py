"""Run a Function in torch: what it means, and what every engine is judged against."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from artifacts.errors import PassError
from artifacts.mapped_pages import give_back_pages
from artifacts.samples import Arrays
from artifacts.weights import WeightStore
from passes.program import Function, Program
from passes.torch_dtypes import from_numpy, to_numpy

Observer = Callable[[torch.fx.Node, object], None]


def run_function(
    function: Function,
    weights: WeightStore,
    inputs: Sequence[torch.Tensor],
    observe: Observer | None = None,
) -> tuple[torch.Tensor, ...]:
    """Call a function with tensors in its signature's order; outputs come in its signature's order.

    `observe` sees every node with its value as soon as it is computed. Values are dropped after their last use,
    and so are the pages of mapped weights.
    """
    arrays = {name: weights.array(ref) for name, ref in function.weights.items()}
    stored = {name: from_numpy(array, function.weights[name].dtype) for name, array in arrays.items()}
    given = {node.name: tensor for node, tensor in zip(function.input_nodes, inputs, strict=True)}
    arguments = [stored[node.name] if node.name in stored else given[node.name] for node in function.placeholders]
    with torch.no_grad():
        results: Sequence[torch.Tensor] = _Interpreter(function.body.graph_module, arrays, observe).run(*arguments)
    return tuple(results)


def call(
    program: Program, name: str, inputs: Arrays, observe: Observer | None = None
) -> dict[str, npt.NDArray[np.generic]]:
    """Call one function of a program by the names of its signature. Extra inputs are ignored."""
    function = program.functions[name]
    tensors = [from_numpy(inputs[spec.name], spec.dtype) for spec in function.signature.inputs]
    results = run_function(function, program.weights, tensors, observe)
    return {spec.name: to_numpy(result) for spec, result in zip(function.signature.outputs, results, strict=True)}


class _Interpreter(torch.fx.Interpreter):
    def __init__(
        self, module: torch.fx.GraphModule, weights: Mapping[str, npt.NDArray[Any]], observe: Observer | None
    ) -> None:
        super().__init__(module, garbage_collect_values=True)
        self.weights = weights
        self.observe = observe

    def run_node(self, n: torch.fx.Node) -> object:
        try:
            value = super().run_node(n)
        except (RuntimeError, IndexError, TypeError, ValueError) as error:
            reason = str(error).strip().split("\n")[0]
            subject = f"node {n.name!r} ({n.target})"
            hint = "does the graph allow the sizes of the inputs? other ones can be given with --samples"
            raise PassError.of("interpret", subject, reason, hint) from error
        if self.observe is not None:
            self.observe(n, value)
        for used in self.user_to_last_uses.get(n, ()):
            if used.name in self.weights:
                give_back_pages(self.weights[used.name])
        return value
