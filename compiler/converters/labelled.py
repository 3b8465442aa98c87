"""What onnx2torch made, as a program: recorded with the source node that every operator came from."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram
from torch.utils._pytree import tree_leaves

from artifacts.errors import SourceError
from artifacts.samples import Arrays
from artifacts.spec import Signature
from compiler.converters.onnx2torch import PACKAGE
from compiler.converters.recorder import Recorder
from passes.onnx_to_torch.convert import export_module
from passes.onnx_to_torch.importer import SOURCE_KEY
from passes.torch_dtypes import from_numpy

REFUSALS = (
    NotImplementedError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    RuntimeError,
    AssertionError,
    ArithmeticError,
)
"""What onnx2torch raises on a node that it cannot convert or run: it has no error of its own."""


class Labelled(torch.nn.Module):
    """A graph module that tells which source node it is at; its outputs are tensors in a flat tuple."""

    def __init__(self, module: torch.fx.GraphModule, labels: Mapping[str, str]) -> None:
        """`labels` names the source node of each submodule that the graph calls."""
        super().__init__()
        self.module = module
        self.at: str | None = None
        for parameter in module.parameters():
            parameter.requires_grad_(False)
        for node in module.graph.nodes:
            if node.op == "call_module":
                node.meta["custom"] = {SOURCE_KEY: labels[node.target]}

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Run the graph. Raises SourceError naming the source node that failed."""
        results = tree_leaves(_Walk(self).run(*inputs))
        if not all(isinstance(result, torch.Tensor) for result in results):
            raise SourceError.of("convert", PACKAGE, "an output is not a tensor")
        return tuple(results)


class _Walk(torch.fx.Interpreter):
    def __init__(self, labelled: Labelled) -> None:
        super().__init__(labelled.module)
        self.labelled = labelled
        self.extra_traceback = False

    def run_node(self, n: torch.fx.Node) -> Any:
        # A node's custom metadata goes to every node that torch.export records while it runs.
        label = self.labelled.at = n.meta.get("custom", {}).get(SOURCE_KEY)
        try:
            return super().run_node(n)
        except REFUSALS as error:
            raise SourceError.of("convert", label or n.name, f"onnx2torch: {described(error)}") from error


def record(labelled: Labelled, declared: Signature, inputs: Arrays, subject: str) -> tuple[ExportedProgram, bool]:
    """The module as a program, and whether that is fixed to the sizes of the inputs although the source is not.

    It is symbolic if torch.export can record it. If not, because it reads sizes out of tensors, what it does on the
    inputs is recorded. Raises SourceError naming the source node that failed, or if the module reads contents.
    """
    with contextlib.suppress(SourceError, *REFUSALS):  # a failure that is not torch.export's own comes again below
        program = export_module(labelled, declared, inputs, subject)
        if not _reads_values(program):
            return _functional(program), False
    tensors = [from_numpy(inputs[spec.name], spec.dtype) for spec in declared.inputs]
    with torch.no_grad():
        recorder = Recorder(tensors, lambda: {"custom": {SOURCE_KEY: labelled.at}} if labelled.at else {})
        with recorder:
            outputs = labelled(*tensors)
        recorded = recorder.module(outputs)
        _check_values_are_not_read(labelled, recorded, tensors, subject)
    walked = Labelled(recorded, {})
    program = export_module(walked, declared, inputs, subject, symbolic=False)
    return _functional(program), bool(declared.symbols)


def _reads_values(program: ExportedProgram) -> bool:
    readers = (torch.ops.aten.item.default, torch.ops.aten._local_scalar_dense.default)
    return any(node.target in readers for node in program.graph.nodes)


def _functional(program: ExportedProgram) -> ExportedProgram:
    """The program without operators that write to their operands, which passes take for granted."""
    schemas = (getattr(node.target, "_schema", None) for node in program.graph.nodes)
    return program.run_decompositions({}) if any(s is not None and s.is_mutable for s in schemas) else program


def _check_values_are_not_read(
    labelled: Labelled, recorded: torch.fx.GraphModule, tensors: Sequence[torch.Tensor], subject: str
) -> None:
    """Hold what was recorded to the module itself on other values of the same sizes.

    A constant that came from the contents of an input, and not from its size, shows here.
    """
    others = [_other_values(tensor) for tensor in tensors]
    reads = SourceError.of("convert", subject, "onnx2torch reads the contents of an input: that cannot be recorded")
    try:
        pairs = list(zip(labelled(*others), recorded(*others), strict=True))
    except (SourceError, *REFUSALS) as error:
        raise reads from error
    if not all(a.shape == b.shape and torch.allclose(a, b, rtol=1e-3, atol=1e-3, equal_nan=True) for a, b in pairs):
        raise reads


def _other_values(tensor: torch.Tensor) -> torch.Tensor:
    """The same elements in another order, so that an index stays inside its table; zeros if that changes nothing."""
    order = torch.from_numpy(np.random.default_rng(0).permutation(tensor.numel()))
    other = tensor.flatten()[order].reshape(tensor.shape)
    return torch.zeros_like(tensor) if torch.equal(other, tensor) else other


def described(error: BaseException) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no message'])[0]}"
