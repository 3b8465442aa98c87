"""A Function as an ONNX graph: what ONNX Runtime runs and what TensorRT parses.

torch.onnx translates the body, whose weights are fake, so no weight is copied, folded or transposed on the way.
What it leaves in the graph about this machine (stack traces, node numbers that depend on what ran before) is
removed: the same function gives the same bytes everywhere.
"""

from __future__ import annotations

import ast
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import onnx
import onnx_ir as ir
import onnxscript.optimizer
import torch
import torch.onnx
from torch.export import ExportedProgram
from torch.fx.experimental import proxy_tensor

from artifacts.errors import TargetError
from artifacts.names import free_name
from artifacts.weights import WeightRef
from compiler.node_origins import SOURCE_PROPERTY
from compiler.onnx_translations import OPSET, TRANSLATIONS
from compiler.targets.target import Placement, Translations
from compiler.torch_onnx import one_table, quiet
from compiler.turned_products import read_in_place
from passes.bodies import copied_graph, edited
from passes.program import Function

IR_VERSION = 10
FOLD_ELEMENTS = 64
"""The translation's own constant arithmetic (shapes, axes) is folded up to this many elements."""


@dataclass(frozen=True, eq=False)
class OnnxBody:
    """A function as ONNX, with its weights still to be attached: initializers without a value, by name."""

    model: ir.Model
    weights: Mapping[str, WeightRef]

    def copy(self) -> OnnxBody:
        """The same with a model of its own, to be changed."""
        return OnnxBody(self.model.clone(), self.weights)


def emit_onnx(
    function: Function,
    translations: Translations = MappingProxyType({}),
    *,
    in_place: bool = True,
    translated: MutableMapping[Function, ir.Model] | None = None,
) -> OnnxBody:
    """Translate a function; `translations` says how operators are written that torch.onnx does not know.

    With `in_place` products read weights that are stored turned by an operator of ONNX Runtime's. `translated` keeps
    what torch.onnx made of a function, for another target with the same translations. Raises TargetError naming what
    torch.onnx cannot express.
    """
    if translated is None:
        model = _translate(function, translations)
    else:
        if function not in translated:
            translated[function] = _translate(function, translations)
        model = translated[function].clone()
    graph = model.graph
    placeholders = {name: value for name, value in graph.initializers.items() if name in function.weights}
    # As inputs the weights have no value that the optimizer could fold into a copy.
    for name, value in placeholders.items():
        del graph.initializers[name]
        value.const_value = None
        graph.inputs.append(value)
    with quiet():
        onnxscript.optimizer.optimize_ir(model, onnx_shape_inference=False, output_size_limit=FOLD_ELEMENTS)
    if in_place:
        read_in_place(graph, set(placeholders.values()))
    weights: dict[str, WeightRef] = {}
    taken = {spec.name for spec in (*function.signature.inputs, *function.signature.outputs)}
    constants = list(graph.initializers.values())
    graph.initializers.clear()
    for number, value in enumerate(constants):
        value.name = free_name(f"constant_{number}", taken)
        graph.initializers[value.name] = value
    for name, value in placeholders.items():
        graph.inputs.remove(value)
        if not value.uses() and not value.is_graph_output():
            continue
        value.name = free_name(function.sources.get(name, name), taken)
        graph.initializers[value.name] = value
        weights[value.name] = function.weights[name]
    _name(function, graph, taken)
    _strip(model)
    return OnnxBody(model, weights)


def attach_weights(body: OnnxBody, placement: Placement, inline_bytes: int) -> tuple[ir.Model, dict[str, WeightRef]]:
    """Give the initializers their values: inside the graph up to `inline_bytes`, the others by offset into shards.

    Returns the model and the references that it holds by offset.
    """
    external: dict[str, WeightRef] = {}
    for name, ref in body.weights.items():
        value = body.model.graph.initializers[name]
        assert value.dtype is not None
        shape = ir.Shape(ref.shape)
        if ref.nbytes <= inline_bytes:
            value.const_value = ir.Tensor(placement.weights.array(ref), dtype=value.dtype, shape=shape, name=name)
            continue
        place = placement.shards.locate(ref)
        value.const_value = ir.ExternalTensor(
            place.path,
            place.offset,
            place.nbytes,
            dtype=value.dtype,
            shape=shape,
            name=name,
            base_dir=placement.root,
        )
        external[name] = ref
    return body.model, external


def _translate(function: Function, translations: Translations) -> ir.Model:
    with quiet(), one_table():
        try:
            program = torch.onnx.export(
                _scoped(function),
                (),
                dynamo=True,
                optimize=False,
                opset_version=OPSET,
                verbose=False,
                custom_translation_table={**translations, **TRANSLATIONS},
            )
        except torch.onnx.errors.OnnxExporterError as error:
            reason = str(error.__cause__ or error).strip().split("\n")[0]
            raise TargetError.of("emit", function.name, f"torch.onnx: {reason}") from error
    assert program is not None
    model = program.model
    model.ir_version = IR_VERSION
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        scopes = ast.literal_eval(node.metadata_props.get(_SCOPES, "[]"))
        source = next((function.sources[scope] for scope in scopes if scope in function.sources), None)
        node.metadata_props.clear()
        if source is not None:
            node.metadata_props[SOURCE_PROPERTY] = source
    _forget_trace(model.graph)
    return model


def _forget_trace(graph: ir.Graph) -> None:
    """Let go of what torch traced: a body is kept as long as other engines may need it, and its trace is far larger.

    Nodes and values name the torch nodes that they came from, and each of those holds its whole graph. So does a map
    of torch's own from the time of a trace to the next.
    """
    for node in ir.traversal.RecursiveGraphIterator(graph):
        for holder in (node, *node.inputs, *node.outputs):
            if holder is not None:
                holder.meta.clear()
    for value in (*graph.inputs, *graph.initializers.values()):
        value.meta.clear()
    getattr(proxy_tensor, "_FAKE_TENSOR_ID_TO_PROXY_MAP_FOR_EXPORT", {}).clear()


_SCOPES = "pkg.torch.onnx.name_scopes"


def _scoped(function: Function) -> ExportedProgram:
    """The body with each node in a module scope of its own name.

    The scope is what torch carries through decompositions and writes beside each ONNX node, so it tells which
    node of the body an ONNX node came from.
    """
    graph, _ = copied_graph(function.body)
    for node in graph.nodes:
        if node.op == "call_function":
            node.meta["nn_module_stack"] = {node.name: (node.name, "")}
    return edited(function.body, graph)


def _name(function: Function, graph: ir.Graph, taken: set[str]) -> None:
    """Signature names for inputs and outputs; `OP_N` for everything inside, in order."""
    for value, spec in zip(graph.inputs, function.signature.inputs, strict=True):
        value.name = spec.name
        value.shape = ir.Shape(spec.shape)
    _separate_outputs(graph, [spec.name for spec in function.signature.outputs])
    counts: Counter[str] = Counter()
    for node in ir.traversal.RecursiveGraphIterator(graph):
        node.name = f"{node.op_type}_{counts[node.op_type]}"
        counts[node.op_type] += 1
        for position, output in enumerate(node.outputs):
            output.name = free_name(node.name if position == 0 else f"{node.name}.{position}", taken)
            # Sizes inside the graph are torch's view, where a symbol is at least 2. A runtime that plans memory by
            # them fails where one is 1 and broadcasts, so it has to infer them by itself.
            output.shape = None
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                for position, given in enumerate(attribute.as_graph().inputs):
                    given.name = free_name(f"{node.name}.{attribute.name}.{position}", taken)
    for value, spec in zip(graph.outputs, function.signature.outputs, strict=True):
        value.name = spec.name
        value.shape = ir.Shape(spec.shape)


def _separate_outputs(graph: ir.Graph, names: Sequence[str]) -> None:
    """Each output gets a value of its own: an input or a weight returned as it is, or one value returned twice.

    ONNX names a value once, so an output under an input's name is that input, and stays it.
    """
    inputs = {value.name: value for value in graph.inputs}
    seen: set[ir.Value] = set(graph.inputs) | set(graph.initializers.values())
    for position, (value, name) in enumerate(zip(graph.outputs, names, strict=True)):
        if name in inputs:
            graph.outputs[position] = inputs[name]
            copy = value.producer()
            if copy is not None and not value.uses() and not value.is_graph_output():
                graph.remove(copy, safe=True)
        elif value in seen:
            identity = ir.node("Identity", [value])
            graph.append(identity)
            output = identity.outputs[0]
            output.type, output.shape = value.type, value.shape
            graph.outputs[position] = output
        seen.add(graph.outputs[position])


def _strip(model: ir.Model) -> None:
    """Remove what says more about the machine and the moment than about the graph."""
    model.producer_name, model.producer_version = "unspool", None
    model.doc_string = None
    model.metadata_props.clear()
    model.graph.name = "main"
    graphs: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for graph in graphs:
        graph.metadata_props.clear()
        graph.doc_string = None
        for node in ir.traversal.RecursiveGraphIterator(graph):
            for key in set(node.metadata_props) - {SOURCE_PROPERTY}:
                del node.metadata_props[key]
            node.doc_string = None
            for output in node.outputs:
                output.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
        value.doc_string = None


def serialized(model: ir.Model) -> bytes:
    """The model as bytes, the same on every call and machine.

    The types of values inside are left out: a runtime infers them, and an initializer's are its tensor's.
    """
    proto = ir.to_proto(model)
    for function in proto.functions:
        function.ClearField("value_info")
        _leave_out_types(function.node)
    proto.graph.ClearField("value_info")
    _leave_out_types(proto.graph.node)
    data: bytes = proto.SerializeToString(deterministic=True)
    return data


def _leave_out_types(nodes: Iterable[onnx.NodeProto]) -> None:
    """Leave them out of the bodies of loops and branches too."""
    for attribute in itertools.chain.from_iterable(node.attribute for node in nodes):
        if attribute.HasField("g"):
            attribute.g.ClearField("value_info")
            _leave_out_types(attribute.g.node)
