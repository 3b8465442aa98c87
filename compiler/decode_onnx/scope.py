"""A graph that is being written: operators, constants that exist once, and calls of local functions."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.tape import Tape

from artifacts.dtype import DType
from artifacts.spec import TensorSpec
from compiler.decode_onnx.functions import DOMAIN, Callee, DecodeFunctions
from compiler.emit_onnx import IR_VERSION, OnnxBody
from compiler.onnx_translations import OPSET


class Scope:
    """The nodes of one graph; the body of a Loop is a scope inside another and sees its values."""

    def __init__(self, functions: DecodeFunctions, outer: Scope | None = None) -> None:
        self.functions = functions
        self.tape = Tape()
        root = outer or self
        self._weights: dict[int, ir.Value] = {} if outer is None else root._weights
        self._constants: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {} if outer is None else root._constants
        self._called: dict[str, Callee] = {} if outer is None else root._called

    def op(self, name: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
        """One operator with one output."""
        return self.tape.op(name, inputs, attributes)

    def call(self, function: str, given: Mapping[str, ir.Value]) -> dict[str, ir.Value]:
        """The outputs of a local function by name; it takes from `given` what it has inputs for."""
        callee = self.functions.callees[function]
        self._called[function] = callee
        arguments = [*(given[name] for name in callee.inputs), *(self._weight(name) for name in callee.weights)]
        results = self.tape.op_multi_out(
            callee.function.name, arguments, domain=DOMAIN, num_outputs=len(callee.outputs)
        )
        return dict(zip(callee.outputs, results, strict=True))

    def constant(self, array: npt.ArrayLike, dtype: npt.DTypeLike = np.int64) -> ir.Value:
        """A constant of the graph. Equal ones are one."""
        content = np.array(array, dtype, order="C")
        key = (content.dtype.str, content.shape, content.tobytes())
        if key not in self._constants:
            value = ir.Value(const_value=ir.tensor(content))
            value.type = ir.TensorType(ir.DataType.from_numpy(content.dtype))
            value.shape = ir.Shape(content.shape)
            self._constants[key] = value
        return self._constants[key]

    def _weight(self, number: int) -> ir.Value:
        if number not in self._weights:
            ref, dtype = self.functions.weights[number]
            self._weights[number] = ir.Value(type=ir.TensorType(dtype), shape=ir.Shape(ref.shape))
        return self._weights[number]

    def body(self, inputs: Sequence[ir.Value], outputs: Sequence[ir.Value]) -> ir.Graph:
        """The scope as the body of a Loop."""
        return ir.Graph(inputs, outputs, nodes=self.tape.nodes, name="step")

    def finish(self, inputs: Sequence[ir.Value], outputs: Sequence[ir.Value]) -> OnnxBody:
        """The scope as a model with the weights that it uses. Inputs and outputs have their names by now.

        Everything else gets short names, because calls repeat those of their arguments by the thousand; none that a
        local function has, though ONNX would allow it: TensorRT then takes an argument for another of that name.
        """
        named = {*inputs, *outputs}
        called = [callee.function for callee in self._called.values()]
        names = _Names({value.name for value in (*named, *itertools.chain.from_iterable(map(_values, called)))})
        weights = {names.give(value, "w"): self.functions.weights[n][0] for n, value in self._weights.items()}
        # The number of a position is one, whether or not its step takes it.
        constants = [value for value in self._constants.values() if value.uses() or value in named]
        for value in constants:
            names.give(value, "c")
        graph = ir.Graph(
            inputs,
            outputs,
            nodes=self.tape.nodes,
            initializers=[*self._weights.values(), *constants],
            opset_imports={"": OPSET, DOMAIN: 1},
            name="decode",
        )
        for node in ir.traversal.RecursiveGraphIterator(graph):
            node.name = None
            inner = [v.as_graph().inputs for v in node.attributes.values() if v.type == ir.AttributeType.GRAPH]
            for value in (*itertools.chain.from_iterable(inner), *node.outputs):
                if value not in named:
                    names.give(value, "v")
        model = ir.Model(graph, ir_version=IR_VERSION, producer_name="unspool", functions=called)
        return OnnxBody(model, weights)


def _values(function: ir.Function) -> list[ir.Value]:
    """What a function takes, and what its nodes make."""
    nodes = ir.traversal.RecursiveGraphIterator(function)
    return [*function.inputs, *itertools.chain.from_iterable(node.outputs for node in nodes)]


class _Names:
    """Numbered names, each given once and none of those that are taken."""

    def __init__(self, taken: set[str | None]) -> None:
        self._taken = taken
        self._counts: Counter[str] = Counter()

    def give(self, value: ir.Value, prefix: str) -> str:
        """Name a value and the tensor that it holds."""
        name = f"{prefix}{self._counts[prefix]}"
        while name in self._taken:
            self._counts[prefix] += 1
            name = f"{prefix}{self._counts[prefix]}"
        self._counts[prefix] += 1
        self._taken.add(name)
        value.name = name
        if value.const_value is not None:
            value.const_value.name = name
        return name


def typed(spec: TensorSpec, name: str | None = None) -> ir.Value:
    """A value of a spec's type and shape."""
    return ir.Value(name=name or spec.name, type=ir.TensorType(onnx_type(spec.dtype)), shape=ir.Shape(spec.shape))


def onnx_type(dtype: DType) -> ir.DataType:
    """The element type in ONNX."""
    return ir.DataType.BFLOAT16 if dtype == DType.BFLOAT16 else ir.DataType.from_numpy(dtype.numpy)
