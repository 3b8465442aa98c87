"""LRN and LpNormalization: division by a norm of the neighbours."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.registry import op


@op("LRN", 1, 13)
def local_response_normalization(call: Call, data: torch.Tensor) -> torch.Tensor:
    """`data` [N, C, ...] over (bias + alpha / size * sum of squares of `size` channels around it)^beta.

    torch's local_response_norm has an even window one channel further back than ONNX.
    """
    size = call.attr_int("size")
    squares = torch.square(data).flatten(2).unsqueeze(1) if data.dim() > 2 else torch.square(data)[:, None, :, None]
    padded = F.pad(squares, [0, 0, (size - 1) // 2, size // 2])
    means = F.avg_pool2d(padded, [size, 1], stride=[1, 1]).reshape(data.shape)
    return data / torch.pow(means * call.attr_float("alpha") + call.attr_float("bias"), call.attr_float("beta"))


@op("LpNormalization", 1, 22)
def lp_normalization(call: Call, data: torch.Tensor) -> torch.Tensor:
    """`data` over its norm along one axis, and 0 where the norm is 0."""
    norm = torch.linalg.vector_norm(data, call.attr_int("p"), call.attr_int("axis"), keepdim=True)
    return data / torch.where(norm == 0, 1.0, norm)
