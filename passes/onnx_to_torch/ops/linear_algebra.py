"""MatMul, Gemm, Einsum and Det."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from passes.onnx_to_torch.broadcasting import aligned
from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.registry import op
from passes.onnx_to_torch.unsigned import modular


@op("MatMul", 1, 9, 13)
def matmul(call: Call, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return modular(torch.matmul, a, b)


@op("Gemm", 1, 6, 7, 9, 11, 13)
def gemm(call: Call, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor | None = None) -> torch.Tensor:
    """`alpha` * a' * b' + `beta` * c, with a' [M, K], b' [K, N] and c broadcast to [M, N]."""
    alpha, beta = call.attr_float("alpha"), call.attr_float("beta")
    trans_b = bool(call.attr_int("transB"))
    if call.attr_int("transA"):
        a = a.t()
    if c is not None:
        c = aligned(call, a, c)
        if a.is_floating_point() and trans_b and alpha == beta == 1 and c.dim() == 1:
            return F.linear(a, b, c)  # the weight stays as it is stored
    return modular(lambda *operands: _gemm(call, alpha, beta, *operands), a, b.t() if trans_b else b, *_present(c))


def _present(c: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
    return () if c is None else (c,)


def _gemm(
    call: Call, alpha: float, beta: float, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor | None = None
) -> torch.Tensor:
    if a.is_floating_point():
        if c is not None:
            return torch.addmm(c, a, b, alpha=alpha, beta=beta)
        product = torch.mm(a, b)
        return product if alpha == 1 else product * alpha
    if not (alpha.is_integer() and beta.is_integer()):
        call.unsupported(f"alpha {alpha} and beta {beta} on integers", "torch needs whole numbers here")
    product = torch.mm(a, b) * int(alpha)
    return product if c is None else product + c * int(beta)


@op("Einsum", 12, 28)
def einsum(call: Call, *operands: torch.Tensor) -> torch.Tensor:
    """One operand of integers alone is what torch sums in int64."""
    equation = call.attr_text("equation")

    def summed(*tensors: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = torch.einsum(equation, *tensors)
        return result if result.dtype is tensors[0].dtype else result.to(tensors[0].dtype)

    return modular(summed, *operands)


@op("Det", 11, 22)
def determinant(call: Call, data: torch.Tensor) -> torch.Tensor:
    """Of each matrix in [..., M, M]. torch has no kernel for half precision."""
    exact = data if data.dtype in (torch.float32, torch.float64) else data.float()
    result: torch.Tensor = torch.linalg.det(exact)
    return result.to(data.dtype)
