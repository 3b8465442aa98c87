"""Walk an ONNX graph with torch tensors, so that torch.export can record what it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch
import torch.fx.traceback

from artifacts.errors import SourceError, UnsupportedError
from passes.onnx_to_torch import registry
from passes.onnx_to_torch.arguments import arguments_of, results_of
from passes.onnx_to_torch.branches import Choices, run_either
from passes.onnx_to_torch.call import Call, Iterate
from passes.onnx_to_torch.captures import Captures, free_values, tensors_in
from passes.onnx_to_torch.constant_nodes import constant_of, constant_tensors, label_of, read_constant, refers
from passes.onnx_to_torch.function_bodies import model_function, schema_function
from passes.onnx_to_torch.loops import Times, run_loop
from passes.onnx_to_torch.settled import is_followed, known_array, settle
from passes.onnx_to_torch.tensors import dtype_of, to_torch, typed
from passes.onnx_to_torch.values import KNOWN_LIMIT, Carried, Known, Scalar, Text, Value, to_carrier

SOURCE_KEY = "onnx_node"
"""Key under which a traced node's custom metadata names the source node that it came from."""


INSIDE = " > "
"""Between the label of a node that calls a function and the label of a node inside that function."""


class Importer(torch.nn.Module):
    """A graph as a module: `forward` takes the graph's inputs and returns its outputs, in order.

    Each constant tensor of the file is one buffer, however many nodes use it: ties in the file stay ties.
    `buffer_names` gives the source's name of the tensor behind each buffer.
    """

    def __init__(self, model: ir.Model, converters: registry.Registry | None = None) -> None:
        """A module of the model's graph; `converters` are Unspool's own unless others are given."""
        super().__init__()
        self.model = model
        self.converters = registry.builtin() if converters is None else converters
        self.buffer_names: dict[str, str] = {}
        self._inside: Mapping[str, torch.Tensor] = {}
        self._constants: dict[int, Known | str] = {}
        for tensor in constant_tensors(model):
            if id(tensor) not in self._constants:
                self._constants[id(tensor)] = self._place(tensor)

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Run the graph on tensors, of the carrier's type where torch has not the declared one.

        Raises SourceError naming the node that failed, or the output that is no tensor.
        """
        outputs = zip(self.model.graph.outputs, self.run(inputs), strict=True)
        return tuple(_carrier_of(output, result) for output, result in outputs)

    def run(self, inputs: Sequence[Value]) -> list[Value]:
        """Run the graph on values, sequences included. Raises SourceError naming the node that failed."""
        graph = self.model.graph
        scope = _Scope(self, self.model.opset_imports, sizes=_symbols(inputs))
        given = (value for value in graph.inputs if value.name not in graph.initializers)
        scope.values.update((name, _of_type(value, name)) for name, value in zip(given, inputs, strict=True))
        return scope.run(graph)

    def constant(self, tensor: ir.TensorProtocol) -> Known | Carried | torch.Tensor:
        """The value of a constant tensor. Buffers are looked up late: export swaps them while it traces."""
        place = self._constants.get(id(tensor))
        if place is None:  # a constant inside a schema's function body: not in the file, and small
            return known_constant(tensor) or to_torch(tensor)
        return place if isinstance(place, Known) else typed(self._weight(place), dtype_of(tensor.dtype, place))

    def weights(self) -> dict[str, torch.Tensor]:
        """Every buffer by name, as the graph or branch that is being traced sees it."""
        return {fqn: self._weight(fqn) for fqn in self.buffer_names}

    @property
    def mapped(self) -> dict[int, npt.NDArray[Any]]:
        """The arrays of constants that are in mapped files, by the address of their memory."""
        tensors = [tensor for tensor in constant_tensors(self.model) if isinstance(tensor, ir.ExternalTensor)]
        return {array.ctypes.data: array for array in (tensor.numpy() for tensor in tensors)}

    @contextmanager
    def inside(self, weights: Mapping[str, torch.Tensor]) -> Iterator[None]:
        """While a branch or a loop's body is traced, its operands stand for the buffers."""
        before, self._inside = self._inside, weights
        try:
            yield
        finally:
            self._inside = before

    def _weight(self, fqn: str) -> torch.Tensor:
        return self._inside[fqn] if fqn in self._inside else self.get_buffer(fqn)

    def _place(self, tensor: ir.TensorProtocol) -> Known | str:
        known = known_constant(tensor)
        if known is not None and known.is_brief:
            return known
        fqn = f"w{len(self.buffer_names)}"
        self.register_buffer(fqn, to_carrier(to_torch(tensor)))
        self.buffer_names[fqn] = tensor.name or fqn
        # A table of numbers is a weight wherever a tensor is wanted, and is left out where none is.
        return fqn if known is None else replace(known, weight=partial(self._weight, fqn))


_CONVERTER_ERRORS = (
    RuntimeError,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    NameError,
    ArithmeticError,
    AssertionError,
)
"""What a converter raises on inputs that it is wrong about; it may be a user's own code."""


def known_constant(tensor: ir.TensorProtocol) -> Known | None:
    """A constant as a known value if it can be shape arithmetic: small, integer or bool, of rank 0 or 1."""
    small = tensor.size <= KNOWN_LIMIT and len(tensor.shape) <= 1
    return Known.from_numpy(tensor.numpy()) if small and tensor.dtype in _KNOWN_TYPES else None


_KNOWN_TYPES = frozenset({ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL})


@dataclass(eq=False)
class _Scope:
    """The names that are visible while one graph or one function body runs."""

    importer: Importer
    opsets: Mapping[str, int]
    prefix: str = ""
    attributes: Mapping[str, ir.Attr] = field(default_factory=dict)
    values: dict[ir.Value, Value] = field(default_factory=dict)
    statics: dict[ir.Value, npt.NDArray[np.generic]] = field(default_factory=dict)
    sizes: Sequence[torch.SymInt] = ()
    choices: Choices = field(default_factory=Choices)

    def run(self, graph: ir.Graph | ir.Function) -> list[Value]:
        for node in graph:
            with torch.fx.traceback.annotate({SOURCE_KEY: self.prefix + label_of(node)}):
                results = self._run_node(node)
            self.values.update(zip(node.outputs, results, strict=False))
            self._settle(node)
        return [self.value(output) for output in graph.outputs]

    def run_subgraph(self, graph: ir.Graph, inputs: Sequence[Value]) -> list[Value]:
        """Run a branch or a loop body, which sees this scope's names."""
        inner = replace(self, values=dict(self.values), statics=dict(self.statics))
        inner.values.update(zip(graph.inputs, inputs, strict=True))
        return inner.run(graph)

    def run_either(self, condition: torch.Tensor | torch.SymBool, branches: tuple[ir.Graph, ir.Graph]) -> list[Value]:
        """Trace both branches of an If, see `branches.run_either`."""

        def branch(graph: ir.Graph, captures: Captures, choices: Choices) -> list[Value]:
            with self._inside(captures, choices) as scope:
                return scope.run(graph)

        return run_either(condition, branches, self._captures(branches), branch)

    def run_loop(
        self, graph: ir.Graph, times: Times, carried: Sequence[Value], shared: Sequence[Value], iterate: Iterate
    ) -> list[Value]:
        """Trace the body of a loop, see `loops.run_loop`."""
        names = [ir.Value(name=f"shared_{position}") for position in range(len(shared))]

        def body(number: Known, state: Sequence[Value], captures: Captures) -> Sequence[Value]:
            with self._inside(captures, Choices()) as scope:
                return iterate(scope.run_subgraph, number, state, [scope.values[name] for name in names])

        captures = self._captures([graph], dict(zip(names, shared, strict=True)))
        return run_loop(times, carried, captures, body)

    def _captures(self, graphs: Sequence[ir.Graph], more: Mapping[ir.Value, Value] | None = None) -> Captures:
        """What graphs inside this one use of what is around them, and `more`."""
        values = {value: self.values[value] for value in free_values(graphs) if value in self.values} | dict(more or {})
        return Captures(values, self.importer.weights(), self.sizes)

    @contextmanager
    def _inside(self, captures: Captures, choices: Choices) -> Iterator[_Scope]:
        """The scope of a graph that is traced as a function of what it captures."""
        with self.importer.inside(captures.weights):
            yield replace(self, values=dict(captures.values), statics=dict(self.statics), choices=choices)

    def value(self, value: ir.Value | None) -> Value:
        if value is None or value.name == "":
            return None
        if value in self.values:
            return self.values[value]
        if value.const_value is not None:
            return self.importer.constant(value.const_value)
        raise SourceError.of("convert", value.name or "?", "is used before it is computed", "is the graph valid?")

    def static(self, value: ir.Value | None) -> npt.NDArray[np.generic] | None:
        """The array behind a value that is a constant of the file."""
        while value is not None and value not in self.statics:
            if value.const_value is not None:
                return value.const_value.numpy()
            producer = value.producer()
            if producer is None or producer.domain not in ("", "ai.onnx"):
                return None
            if producer.op_type == "Constant":
                return self.constant_of(producer).numpy()
            # Exporters write Identity to share one tensor between two names.
            value = producer.inputs[0] if producer.op_type == "Identity" else None
        return None if value is None else self.statics[value]

    def _settle(self, node: ir.Node) -> None:
        """Follow a computation of fixed sizes through floating point, see settled.py."""
        if not is_followed(node):
            return
        inputs = [self._settled(value) for value in node.inputs]
        if any(array is None and value is not None for array, value in zip(inputs, node.inputs, strict=True)):
            return
        result = settle(node, self._attributes(node), inputs, self.opsets)
        if result is not None:
            self.statics[node.outputs[0]] = result
            if ir.DataType.from_numpy(result.dtype) in _KNOWN_TYPES and result.ndim <= 1:
                self.values[node.outputs[0]] = Known.from_numpy(result)

    def _settled(self, value: ir.Value | None) -> npt.NDArray[np.generic] | None:
        if value is None:
            return None
        known = known_array(self.values.get(value))
        large = value.const_value is not None and value.const_value.size > KNOWN_LIMIT
        return known if known is not None or large else self.static(value)

    def constant_of(self, node: ir.Node) -> ir.TensorProtocol:
        """The tensor of a Constant node, which may name an attribute of the enclosing function."""
        return read_constant(node, self._attributes(node)) if refers(node) else constant_of(node)

    def _run_node(self, node: ir.Node) -> Sequence[Value]:
        label = self.prefix + label_of(node)
        domain = registry.normal_domain(node.domain)
        if domain == "" and node.op_type == "Constant":
            return [self.importer.constant(self.constant_of(node))]
        inputs = [self.value(value) for value in node.inputs]
        function = model_function(self.importer.model, node, self.opsets)
        if function is not None:
            return self._run_function(function, node, inputs)
        opset = registry.opset_of(self.opsets, domain)
        schema = registry.schema_of(domain, node.op_type, opset)
        since = registry.since_version(schema, node.op_type, opset)
        call = Call(
            node=node,
            label=label,
            since=since,
            schema=schema,
            attributes=self._attributes(node),
            statics=lambda position: self.static(node.inputs[position]) if position < len(node.inputs) else None,
            run_graph=self.run_subgraph,
            run_either=self.run_either,
            run_loop=self.run_loop,
            choices=self.choices,
        )
        try:
            return self._convert(call, domain, inputs)
        except _CONVERTER_ERRORS as error:
            reason = str(error).strip().split("\n")[0]
            shapes = ", ".join(_describe(value) for value in inputs)
            raise SourceError.of(
                "convert",
                label,
                f"{node.op_type}-{since} on ({shapes}): {reason}",
                "do the samples fit the model?",
            ) from error

    def _convert(self, call: Call, domain: str, inputs: list[Value]) -> Sequence[Value]:
        known = self.importer.converters.find_known(domain, call.op, call.since)
        if known is not None and inputs and all(value is None or isinstance(value, Known) for value in inputs):
            result = known(call, *inputs)
            if result is not None:
                return result if isinstance(result, tuple) else (result,)
        converter = self.importer.converters.find(domain, call.op, call.since)
        if converter is None:
            body = schema_function(call, inputs, self.opsets)
            if body is None:
                raise UnsupportedError.of("convert", call.label, f"no converter for {call.op}-{call.since}")
            return self._run_function(body, call.node, inputs)
        result = converter.function(call, *arguments_of(call, converter, inputs))
        results = result if isinstance(result, tuple) else (result,)
        return results_of(converter, inputs, results)

    def _run_function(self, function: ir.Function, node: ir.Node, inputs: Sequence[Value]) -> list[Value]:
        attributes = {
            **{a.name: a for a in function.attributes.values() if a.value is not None},
            **self._attributes(node),
        }
        prefix = f"{self.prefix}{label_of(node)}{INSIDE}"
        inner = replace(
            self, opsets=function.opset_imports, prefix=prefix, attributes=attributes, values={}, statics={}
        )
        padded = [*inputs, *[None] * (len(function.inputs) - len(inputs))]
        inner.values.update(zip(function.inputs, padded, strict=True))
        for formal, actual in zip(function.inputs, node.inputs, strict=False):
            static = self.static(actual)
            if static is not None:
                inner.statics[formal] = static
        return inner.run(function)

    def _attributes(self, node: ir.Node) -> dict[str, ir.Attr]:
        """The node's attributes, references to the enclosing function's attributes resolved."""
        resolved = {}
        for name, attribute in node.attributes.items():
            if not attribute.is_ref():
                resolved[name] = attribute
            elif (found := self.attributes.get(attribute.ref_attr_name or "")) is not None:
                resolved[name] = found
        return resolved


def _of_type(value: Value, declared: ir.Value) -> Value:
    """An input as a value of the type that the graph declares for it."""
    if isinstance(value, torch.Tensor) and isinstance(declared.type, ir.TensorType):
        return typed(value, dtype_of(declared.type.dtype, declared.name or "an input"))
    return value


def _carrier_of(output: ir.Value, result: Value) -> torch.Tensor:
    if isinstance(result, torch.Tensor | Known | Carried):
        return to_carrier(result)
    message = f"is computed as a {_describe(result)}, and declared as a tensor"
    raise SourceError.of("convert", f"output {output.name!r}", message, "is the graph valid?")


def _symbols(inputs: Sequence[Value]) -> tuple[torch.SymInt, ...]:
    """The symbols of the inputs' sizes, each once."""
    sizes: list[Scalar] = [size for value in inputs for tensor in tensors_in(value) for size in tensor.shape]
    return tuple({str(size): size for size in sizes if isinstance(size, torch.SymInt)}.values())


def _describe(value: Value) -> str:
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    if isinstance(value, Known):
        return str(value.elements)
    if isinstance(value, Carried):
        return f"{value.dtype}{list(value.tensor.shape)}"
    if isinstance(value, Text):
        return f"string{list(value.array.shape)}"
    return "-" if value is None else f"sequence of {len(value)}"
