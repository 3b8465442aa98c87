"""onnx2torch in a process of its own: `python -m compiler.converters.onnx2torch_child FOLDER convert MODEL.onnx`.

Started by onnx2torch.py, which gives it a folder with the inputs to record on and finds the program and an answer
there. `operators` in place of `convert MODEL.onnx` answers with what the package converts.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import numpy as np
import onnx
import onnx_ir as ir
import torch
from torch.export import ExportedProgram
from torch.utils._pytree import tree_leaves

from artifacts.errors import Problem, SourceError, UnsupportedError
from artifacts.samples import Arrays, read_arrays
from artifacts.spec import Signature
from compiler.converters.onnx2torch import ANSWER, INPUTS, PACKAGE, PROGRAM
from compiler.converters.program_file import save_program
from compiler.converters.recorder import Recorder
from passes.onnx_to_torch.convert import export_module, node_sources, source_signature
from passes.onnx_to_torch.gaps import needed_by
from passes.onnx_to_torch.importer import SOURCE_KEY, label_of
from passes.onnx_to_torch.registry import Key, full_name, normal_domain, schema_of
from passes.onnx_to_torch.source import load_source
from passes.torch_dtypes import from_numpy

_TORCHVISION = ("RoiAlign", "NonMaxSuppression")
"""The operators for which onnx2torch calls torchvision."""

_REFUSALS = (
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


def stand_in_for_torchvision() -> None:
    """Put modules in torchvision's place that hold the three names onnx2torch uses, none of which can be called.

    They are `torchvision.ops.roi_align`, `torchvision.ops.nms` and `torchvision.ops.box_convert`. The operators
    that would call them are reported as gaps before anything is converted.
    """

    def refuse(*_: object, **__: object) -> NoReturn:
        raise NotImplementedError("torchvision is stood in for, and cannot be called")

    package, operators = ModuleType("torchvision"), ModuleType("torchvision.ops")
    for module in (package, operators):
        module.__spec__ = ModuleSpec(module.__name__, None)
        sys.modules[module.__name__] = module
    vars(package)["ops"] = operators
    for name in ("roi_align", "nms", "box_convert"):
        vars(operators)[name] = refuse


def operators() -> list[Key]:
    """What converts here."""
    _module("node_converters")  # registers them
    registry = _module("node_converters.registry")._CONVERTER_REGISTRY
    return sorted((domain, name, since) for domain, name, since in registry if name not in _TORCHVISION)


def convert(path: Path, inputs: Arrays, output: Path) -> dict[str, Any]:
    """Convert a model, record it on the inputs and save the program.

    Returns the answer: the source node of each of the program's nodes, and whether the program is for the sizes of
    the inputs only. Raises UnsupportedError with
    every node that is refused, SourceError if the module cannot be recorded.
    """
    source = load_source(path)
    declared = source_signature(source)
    labels = [label_of(node) for node in source.model.graph]
    proto = _module("utils.safe_shape_inference").safe_shape_inference(_with_plain_names(source.model))
    UnsupportedError.raise_if(_gaps(proto, labels))
    try:
        module = _module("converter").convert(proto).eval()
    except _REFUSALS as error:
        raise SourceError.of("convert", path.name, f"onnx2torch: {_described(error)}") from error
    labelled = Labelled(module, dict(zip(map(_node_name, range(len(labels))), labels, strict=True)))
    program, fixed = _recorded(labelled, declared, inputs, path.name)
    save_program(program, output)
    return {"sources": node_sources(program), "fixed": fixed}


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
        except _REFUSALS as error:
            raise SourceError.of("convert", label or n.name, f"onnx2torch: {_described(error)}") from error


def _recorded(labelled: Labelled, declared: Signature, inputs: Arrays, subject: str) -> tuple[ExportedProgram, bool]:
    """The module as a program: symbolic if torch.export can, else fixed, as it runs at the sizes of the inputs."""
    try:
        program = export_module(labelled, declared, inputs, subject)
        if not _reads_values(program):
            return _functional(program), False
    except (SourceError, *_REFUSALS):
        pass  # the reason shows below, on real data, or it was that there were none
    tensors = [from_numpy(inputs[spec.name], spec.dtype) for spec in declared.inputs]
    with torch.no_grad():
        recorder = Recorder(tensors, lambda: {"custom": {SOURCE_KEY: labelled.at}} if labelled.at else {})
        with recorder:
            outputs = labelled(*tensors)
        recorded = recorder.module(outputs)
        _check_values_are_not_read(labelled, recorded, tensors, subject)
    walked = Labelled(recorded, {})
    return _functional(export_module(walked, declared, inputs, subject, symbolic=False)), True


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
    expected, actual = labelled(*others), recorded(*others)
    for left, right in zip(expected, actual, strict=True):
        if left.shape != right.shape or not torch.allclose(left, right, rtol=1e-3, atol=1e-3, equal_nan=True):
            message = "onnx2torch reads the contents of an input, so what it does cannot be recorded"
            raise SourceError.of("convert", subject, message)


def _other_values(tensor: torch.Tensor) -> torch.Tensor:
    """The same elements in another order, so that an index stays inside its table; zeros if that changes nothing."""
    order = torch.from_numpy(np.random.default_rng(0).permutation(tensor.numel()))
    other = tensor.flatten()[order].reshape(tensor.shape)
    return torch.zeros_like(tensor) if torch.equal(other, tensor) else other


def _with_plain_names(model: ir.Model) -> onnx.ModelProto:
    """The model in one piece, each node named by its position: onnx2torch makes module names of node names."""
    proto: onnx.ModelProto = ir.to_proto(ir.external_data.load_to_model(model))
    for entry in proto.opset_import:
        entry.domain = normal_domain(entry.domain)
    for number, node in enumerate(proto.graph.node):
        node.domain = normal_domain(node.domain)
        node.name = _node_name(number)
    return proto


def _node_name(number: int) -> str:
    return f"node_{number}"


def _gaps(proto: onnx.ModelProto, labels: Sequence[str]) -> Iterator[Problem]:
    """One problem for each operator version that is missing, and for each reason for which nodes are refused."""
    registry = _module("node_converters.registry")
    graph = _module("onnx_graph").OnnxGraph(proto.graph)
    opsets = {entry.domain: entry.version for entry in proto.opset_import}
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    reasons: dict[tuple[str, str], str] = {}
    for label, node in zip(labels, graph.nodes.values(), strict=True):
        domain, name, opset = node.domain, node.operation_type, opsets.get(node.domain, 1)
        schema = schema_of(domain, name, opset)
        key = (domain, name, schema.since_version if schema else opset)
        converter = registry._CONVERTER_REGISTRY.get(key)
        others = sorted(k.version for k in registry._CONVERTER_REGISTRY if (k.domain, k.operation_type) == key[:2])
        if converter is None:
            kind, reason = "", f"no converter (it has {', '.join(map(str, others))})" if others else "no converter"
        elif name in _TORCHVISION:
            kind, reason = "", "calls torchvision, which is stood in for"
        else:
            kind, reason = _refusal(converter, node, graph)
        if reason:
            found[(full_name(key), kind)].append(label)
            reasons.setdefault((full_name(key), kind), reason)
    for gap, nodes in sorted(found.items()):
        yield Problem("convert", f"onnx2torch: {gap[0]}", f"{reasons[gap]}; {needed_by(nodes)}")


def _refusal(converter: Callable[..., object], node: object, graph: object) -> tuple[str, str]:
    """The kind of error with which a node is refused, and the error; both empty if it is not."""
    try:
        converter(node, graph)
    except _REFUSALS as error:
        return type(error).__name__, f"refused with {_described(error)}"
    return "", ""


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no message'])[0]}"


def _module(name: str) -> Any:
    return importlib.import_module(f"{PACKAGE}.{name}")


def main(arguments: Sequence[str]) -> None:
    """Do the job and leave the answer."""
    job = Path(arguments[0])
    stand_in_for_torchvision()
    try:
        if arguments[1] == "operators":
            answer: dict[str, Any] = {"operators": operators()}
        else:
            answer = convert(Path(arguments[2]), read_arrays(job / INPUTS), job / PROGRAM)
    except SourceError as error:
        answer = {"error": type(error).__name__, "problems": [vars(problem) for problem in error.problems]}
    (job / ANSWER).write_text(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1:])
