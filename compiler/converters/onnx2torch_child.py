"""onnx2torch in a process of its own: `python -m compiler.converters.onnx2torch_child FOLDER convert MODEL.onnx`.

Started by onnx2torch.py, which gives it a folder with the inputs to record on and finds the program and an answer
there. `operators` in place of `convert MODEL.onnx` answers with what the package converts.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import onnx
import onnx_ir as ir

from artifacts.errors import Problem, SourceError, UnsupportedError
from artifacts.samples import Arrays, read_arrays
from compiler.converters.labelled import REFUSALS, Labelled, described, record
from compiler.converters.onnx2torch import ANSWER, INPUTS, PACKAGE, PROGRAM
from compiler.converters.program_file import save_program
from passes.onnx_to_torch.constant_nodes import label_of
from passes.onnx_to_torch.convert import node_sources, source_signature
from passes.onnx_to_torch.gaps import needed_by
from passes.onnx_to_torch.registry import Key, full_name, normal_domain, schema_of
from passes.onnx_to_torch.source import load_message, read_source

_TORCHVISION = ("RoiAlign", "NonMaxSuppression")
"""The operators for which onnx2torch calls torchvision."""


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


def convert(path: Path, data_folder: Path, inputs: Arrays, output: Path) -> dict[str, Any]:
    """Convert a model, record it on the inputs and save the program.

    Returns the answer: the source node of each of the program's nodes, and whether the program is for the sizes of
    the inputs only. Raises UnsupportedError with every node that is refused, SourceError if the module cannot be
    recorded.
    """
    source = load_message(read_source(path, data_folder=data_folder))
    declared = source_signature(source)
    labels = [label_of(node) for node in source.model.graph]
    try:
        proto = _module("utils.safe_shape_inference").safe_shape_inference(_with_plain_names(source.model))
        UnsupportedError.raise_if(_gaps(proto, labels))
        module = _module("converter").convert(proto).eval()
    except REFUSALS as error:
        raise SourceError.of("convert", path.name, f"onnx2torch: {described(error)}") from error
    labelled = Labelled(module, dict(zip(map(_node_name, range(len(labels))), labels, strict=True)))
    program, fixed = record(labelled, declared, inputs, path.name)
    save_program(program, output)
    return {"sources": node_sources(program), "fixed": fixed}


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
    except REFUSALS as error:
        return type(error).__name__, f"refused with {described(error)}"
    return "", ""


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
            answer = convert(Path(arguments[2]), Path(arguments[3]), read_arrays(job / INPUTS), job / PROGRAM)
    except SourceError as error:
        answer = {"error": type(error).__name__, "problems": [vars(problem) for problem in error.problems]}
    (job / ANSWER).write_text(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1:])
