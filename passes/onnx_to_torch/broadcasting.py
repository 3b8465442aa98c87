"""The broadcasting of operator sets 1 to 6: of the second operand, where the node asks for it."""

from __future__ import annotations

import torch

from passes.onnx_to_torch.call import Call


def aligned(call: Call, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """`b` with the trailing dimensions of size 1 that make it broadcast to `a` as the node's `axis` says.

    `axis` is the dimension of `a` where the shape of `b` begins. Without it `b` matches the end of `a`, which
    is the rule that every later version has.
    """
    if call.since >= 7 or not call.has("axis"):
        return b
    axis = call.attr_int("axis")
    trailing = (a.dim() + axis if axis < 0 else axis) + b.dim()
    return b.reshape([*b.shape, *[1] * (a.dim() - trailing)])
