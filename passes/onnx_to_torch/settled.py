"""Small numbers that are settled before the model runs, floating point included.

Sizes that are fixed are often computed with in floats: `ceil(height / 2) * 2`, a scale that is one size over another, a
loop that asks whether its counter, as a float, is below a limit. Known values (values.py) hold integers and booleans
only, so such a computation is followed here, in numpy, beside the tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx
import onnx.helper
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from passes.onnx_to_torch.registry import normal_domain, opset_of
from passes.onnx_to_torch.values import KNOWN_LIMIT, Known, Value

Array = npt.NDArray[np.generic]

_ARITHMETIC = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Neg", "Abs", "Min", "Max"})
_ROUNDING = frozenset({"Ceil", "Floor", "Round"})
_LOGIC = frozenset({"Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal", "And", "Or", "Not", "Where"})
_MOVEMENT = frozenset({"Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Concat", "Gather", "Slice"})
_FOLLOWED = _ARITHMETIC | _ROUNDING | _LOGIC | _MOVEMENT
_BROADCASTS = 7
"""Before this version shapes broadcast by attributes, which the evaluator does not know."""
_NUMBERS = frozenset(map(np.dtype, ("bool", "int32", "int64", "float16", "float32", "float64")))


def is_followed(node: ir.Node) -> bool:
    """True for the operators that sizes are computed with."""
    own = node.op_type in _FOLLOWED and normal_domain(node.domain) == "" and len(node.outputs) == 1
    # Of several axes in an attribute the evaluator takes one after the other, each in the shape that is left.
    axes = node.attributes.get("axes")
    return own and (axes is None or axes.is_ref() or len(axes.as_ints()) == 1)


def known_array(value: Value) -> Array | None:
    """The array of a known value without symbols."""
    return value.numpy() if isinstance(value, Known) and value.is_concrete else None


def settle(
    node: ir.Node, attributes: Mapping[str, ir.Attr], inputs: Sequence[Array | None], opsets: Mapping[str, int]
) -> Array | None:
    """What a followed operator makes of settled inputs; None if it is no small number, or if integers alone make it."""
    opset, given = opset_of(opsets, ""), [array for array in inputs if array is not None]
    if (
        opset < _BROADCASTS
        or not given
        or any(array.dtype not in _NUMBERS or array.size > KNOWN_LIMIT for array in given)
    ):
        return None
    names = ["" if array is None else f"x{i}" for i, array in enumerate(inputs)]
    proto = onnx.helper.make_node(node.op_type, names, ["y"])
    proto.attribute.extend(ir.to_proto(attribute) for attribute in attributes.values())
    graph = onnx.helper.make_graph(
        [proto],
        "settled",
        [onnx.helper.make_empty_tensor_value_info(name) for name in names if name],
        [onnx.helper.make_empty_tensor_value_info("y")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    with np.errstate(all="ignore"):
        found = ReferenceEvaluator(model).run(None, dict(zip(filter(None, names), given, strict=True)))
    assert isinstance(found, list)
    result = np.asarray(found[0])
    floats = any(array.dtype.kind == "f" for array in (*given, result))
    return result if floats and result.dtype in _NUMBERS and result.size <= KNOWN_LIMIT else None
