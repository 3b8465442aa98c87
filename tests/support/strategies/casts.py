"""From one element type to another."""

from __future__ import annotations

from collections.abc import Sequence

import ml_dtypes
import numpy as np
import onnx
from hypothesis import strategies as st

from artifacts.dtype import DType
from tests.support.onnx_ops import Array
from tests.support.strategies.makers import output_types
from tests.support.strategies.node import BIT, Node, onnx_type
from tests.support.strategies.table import draws

LIMITS = {"int2": (-2, 1), "uint2": (0, 3), "int4": (-8, 7), "float8_e8m0fnu": (0.25, 8)}


@draws("Cast", "CastLike")
def cast(node: Node) -> Sequence[Array | None]:
    """Of numbers that the target can hold: what becomes of others is not defined."""
    like = None
    if node.op == "CastLike":
        like = node.tensor(1, node.shape(most=1))
        target = like.dtype
    else:
        target = node.draw(output_types(node, "T2", "c"))
        number = onnx_type(target)
        node.set("to", onnx.TensorProto.DataType.Name(number) if node.since == 1 else number)
    options = {"saturate": node.attribute("saturate", BIT)}
    options["round_mode"] = node.attribute("round_mode", st.sampled_from(["up", "down", "nearest"]))
    source = node.dtype(0, "biufV")
    default = (0, 8) if target.name.startswith("u") else (-8, 8)
    low, high = LIMITS.get("float8_e8m0fnu" if "e8m0" in source.name else target.name, default)
    data = node.array(node.shape(least="e8m0" in target.name), source, low, high)  # the evaluator has no scalars there
    # The evaluator casts few types to or from those of ml_dtypes, all of which float32 holds.
    narrow = any(hasattr(ml_dtypes, dtype.name) for dtype in (source, target))
    seen = data.astype(np.float32) if narrow else data
    attributes = {name: value for name, value in options.items() if value is not None}
    node.ask([seen], max(node.since, 6), {"to": onnx_type(target), **attributes}, "Cast")
    return [data] if like is None else [data, like]


@draws("BitCast")
def bit_cast(node: Node) -> Sequence[Array | None]:
    data = node.tensor(0, node.shape())
    bits = DType.of(data.dtype).bits
    wanted = output_types(node, "T2", "c").filter(lambda target: DType.of(target).bits == bits)
    node.set("to", onnx_type(node.draw(wanted)))
    return [data]
