"""`unspool::require`: a tensor as it is, if a condition on sizes or data holds at run time."""

from __future__ import annotations

import torch


@torch.library.custom_op("unspool::require", mutates_args=(), schema="(Tensor x, SymInt holds, str what) -> Tensor")
def require(x: torch.Tensor, holds: int, what: str) -> torch.Tensor:
    """The tensor x, of any shape and type, if `holds` is not 0.

    A source may be compiled for some sizes only (those at which an `If` takes one of its branches); what it
    computes then passes through here, so that an engine fails at the others. Raises RuntimeError saying that
    `what` does not hold.
    """
    if not holds:
        raise RuntimeError(f"{what}: does not hold for these inputs")
    return x.clone()  # the result of a custom operator is never its argument


@require.register_fake
def _(x: torch.Tensor, holds: int, what: str) -> torch.Tensor:  # noqa: ARG001  # the arguments of the schema
    return torch.empty_like(x)
