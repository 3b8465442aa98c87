"""A function of a program as a traced module, which torch alone can load."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch._library.custom_ops import OPDEFS

from artifacts.weights import WeightRef, WeightStore
from compiler.torchscript.archive import canonical
from passes.program import Function
from passes.torch_dtypes import from_numpy


class Part(torch.nn.Module):
    """A function with its weights as buffers; takes tensors in its signature's order, and gives a tuple of them."""

    def __init__(self, function: Function, weights: WeightStore) -> None:
        super().__init__()
        self._function = function
        self._names = {name: f"w{number}" for number, name in enumerate(function.weights)}
        for name, ref in function.weights.items():
            # A copy: the model is written to a file of its own.
            self.register_buffer(self._names[name], from_numpy(weights.array(ref).copy(), ref.dtype))

    @property
    def refs(self) -> dict[str, WeightRef]:
        """Which weight each buffer is, by the buffer's name."""
        return {self._names[name]: ref for name, ref in self._function.weights.items()}

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Call the function."""
        given = {node.name: tensor for node, tensor in zip(self._function.input_nodes, inputs, strict=True)}
        arguments = [
            getattr(self, self._names[node.name]) if node.name in self._names else given[node.name]
            for node in self._function.placeholders
        ]
        results: Sequence[torch.Tensor] = _Written(self._function.body.graph_module).run(*arguments)
        return tuple(results)


class _Written(torch.fx.Interpreter):
    """Runs a graph with operators of our own as what they are made of."""

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        own = OPDEFS.get(getattr(target, "name", lambda: "")().partition(".")[0])
        return own._init_fn(*args, **kwargs) if own is not None else super().call_function(target, args, dict(kwargs))


def traced(part: Part, examples: Sequence[torch.Tensor], role: str = "whole") -> torch.jit.ScriptModule:
    """The part as torch.jit traces it at the shapes of the examples, and no others.

    `role` is what it is in its file, where no other part may be the same.
    """
    # TorchScript's names of classes come from those of Python.
    part.__class__ = type("Part", (Part,), {"__module__": f"unspool.{role}"})
    with quiet(), torch.no_grad():
        module: torch.jit.ScriptModule = torch.jit.trace(part.eval(), tuple(examples), check_trace=False)  # type: ignore[no-untyped-call]
        return module


def saved(module: torch.jit.ScriptModule) -> bytes:
    """The file's bytes, the same for the same module."""
    buffer = io.BytesIO()
    with quiet():
        torch.jit.save(module, buffer)
    return canonical(buffer.getvalue())


@contextmanager
def quiet() -> Iterator[None]:
    """Without what torch says of torch.jit: that it is deprecated, and that sizes become constants, as they shall."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=FutureWarning)
        warnings.filterwarnings("ignore", category=torch.jit._trace.TracerWarning)
        yield
