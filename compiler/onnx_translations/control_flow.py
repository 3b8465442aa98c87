"""The dialect's loop as ONNX's. Its body calls the function that torch.onnx makes of the body's graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import onnx_ir as ir
from onnxscript import evaluator

from compiler.onnx_translations.opset import op
from passes import dialect


def _loop(body: ir.Function, count: Any, going: Any, carried: Sequence[Any], operands: Sequence[Any]) -> Any:
    """Operands are outer values to the body's graph, so weights stay where they are.

    Where the body has no say in how often it runs, it gives back the condition that it was given, which is true.
    """
    number, *state = (_input(value, body.name) for value in body.inputs[: 1 + len(carried)])
    still = ir.Value(name=f"going_{body.name}", type=ir.TensorType(ir.DataType.BOOL), shape=ir.Shape([]))
    call = ir.node(body.name, [number, *state, *operands], domain=body.domain, num_outputs=len(body.outputs))
    more, *results = call.outputs
    for given, result in zip(body.outputs, call.outputs, strict=True):
        result.name = f"{given.name}_{body.name}"
    same = ir.node("Identity", [still if going is None else more])
    graph = ir.Graph([number, still, *state], [*same.outputs, *results], nodes=[call, same], name=body.name)
    limit: Any = op.Constant(value_int=count) if isinstance(count, int) else count
    loop = ir.node("Loop", [limit, going, *carried], {"body": graph}, num_outputs=len(results))
    recorder: Any = evaluator.default()
    recorder.nodes.append(loop)
    return loop.outputs


def _input(value: ir.Value, body: str) -> ir.Value:
    """An input of a loop's body as the body's function declares it, but for sizes that are no numbers."""
    assert value.shape is not None
    sizes = [size if isinstance(size, int) else None for size in value.shape]
    return ir.Value(name=f"{value.name}_{body}_in", type=value.type, shape=ir.Shape(sizes))


TRANSLATIONS: Mapping[Callable[..., Any], Callable[..., Any]] = MappingProxyType({dialect.LOOP: _loop})
