"""Products with weights that can be made of 8-bit codes, and the codes of their weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.fx import Node

from artifacts.dtype import DType
from passes.codes import INT8, Format
from passes.program import Function
from passes.torch_dtypes import to_numpy, torch_dtype_of
from passes.weight_products import weight_product

_aten = torch.ops.aten

CONVOLUTIONS = (_aten.conv1d.default, _aten.conv2d.default, _aten.conv3d.default)

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Product:
    """A product of data with a weight. The weight is [in, out], [out, in] if turned, and of a convolution [out, ...].

    `sum` is the addition of the bias where that is a node of its own, after a product of two matrices. `norm` is the
    normalisation that a convolution's result goes through and nowhere else, of fixed statistics; `result` the node
    whose value is quantised after a convolution: itself, the normalisation, or the Relu after it.
    """

    node: Node
    data: Node
    weight: Node
    bias: Node | None
    is_turned: bool = True
    sum: Node | None = None
    norm: Node | None = None
    result: Node | None = None


def products_of(function: Function) -> Iterator[Product]:
    """The products with a float32 weight of the store, in order."""
    for node in function.computations:
        found = _convolution(function, node) if node.target in CONVOLUTIONS else _matrix(function, node)
        if found is not None and node.meta["val"].dtype == torch.float32:
            yield found


def _convolution(function: Function, node: Node) -> Product | None:
    data, weight, bias, *_ = (*node.args, None)
    if node.kwargs or not _is_weight(function, weight) or (bias is not None and not _is_weight(function, bias)):
        return None
    assert isinstance(data, Node)
    assert isinstance(weight, Node)
    norm = _only_user(node, _aten.batch_norm.default)
    if norm is not None:
        statistics, is_training = norm.args[1:5], norm.args[5]
        if is_training or not all(value is None or _is_weight(function, value) for value in statistics):
            norm = None
    last = norm or node
    relu = _only_user(last, _aten.relu.default)
    return Product(node, data, weight, bias if isinstance(bias, Node) else None, norm=norm, result=relu or last)


def _matrix(function: Function, node: Node) -> Product | None:
    found = weight_product(node, function)
    if found is None or found.matrix.dtype != DType.FLOAT32 or found.operand.name in function.weights:
        return None
    data, weight, bias, turned = found.operand, found.weight, found.bias, found.is_turned
    added = None if bias is not None else _only_user(node, _aten.add.Tensor)
    if added is not None and not added.kwargs and data.meta["val"].dim() == 2:
        summand = next((n for n in added.all_input_nodes if n is not node), None)
        if _is_weight(function, summand) and len(function.weights[str(summand)].shape) == 1:
            return Product(node, data, weight, summand, turned, added)
    return Product(node, data, weight, bias, turned)


def _is_weight(function: Function, value: object) -> bool:
    ref = function.weights.get(value.name) if isinstance(value, Node) else None
    return ref is not None and ref.dtype == DType.FLOAT32


def _only_user(node: Node, target: Any) -> Node | None:
    user = next(iter(node.users)) if len(node.users) == 1 else None
    return user if user is not None and user.target is target else None


def channel_codes(
    weight: Floats, axis: int, least_scales: Floats | None = None, form: Format = INT8
) -> tuple[npt.NDArray[Any], Floats]:
    """Symmetric codes of a weight, in the carrier of the format's type, and the scales float32 [n] along `axis`.

    A scale is that of the largest value of a slice, not below `least_scales`, and 1 for a slice of zeros.
    """
    across = tuple(i for i in range(weight.ndim) if i != axis)
    scales = np.abs(weight).max(across, initial=0) / np.float32(form.largest)
    scales = scales if least_scales is None else np.maximum(scales, least_scales)
    scales = np.where(scales < np.finfo(np.float32).tiny, np.float32(1), scales).astype(np.float32)
    shape = [-1 if i == axis else 1 for i in range(weight.ndim)]
    steps = torch.from_numpy(weight / scales.reshape(shape)).clamp(-form.largest, form.largest)
    codes = steps.round() if form.dtype.is_integer else steps
    return to_numpy(codes.to(torch_dtype_of(form.dtype))), scales


def without_norm(weight: Floats, bias: Floats, norm: Mapping[str, Floats], eps: float) -> tuple[Floats, Floats]:
    """Weight [out, ...] and bias [out] of the convolution that gives what a batch normalisation made of the old one's.

    `norm` holds the normalisation's `gain`, `shift`, `mean` and `var`, each [out].
    """
    factor = norm["gain"].astype(np.float64) / np.sqrt(norm["var"].astype(np.float64) + eps)
    scaled = weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
    moved = (bias - norm["mean"].astype(np.float64)) * factor + norm["shift"]
    return scaled.astype(np.float32), moved.astype(np.float32)
