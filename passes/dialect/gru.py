"""`unspool::gru`: gated recurrent units (Cho et al. 2014, arXiv:1406.1078)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from passes.dialect.activations import Activations
from passes.dialect.recurrence import Direction, Operands, States, fake_results, recur

_SCHEMA = (
    "(Tensor x, Tensor w, Tensor r, Tensor? b, Tensor? lengths, Tensor? initial_h, str direction,"
    " str[] activations, float[] alphas, float[] betas, float? clip, bool linear_before_reset) -> (Tensor, Tensor)"
)


@torch.library.custom_op("unspool::gru", mutates_args=(), schema=_SCHEMA)
def gru(  # noqa: PLR0913, PLR0917  # the arguments of the schema
    x: torch.Tensor,
    w: torch.Tensor,
    r: torch.Tensor,
    b: torch.Tensor | None,
    lengths: torch.Tensor | None,
    initial_h: torch.Tensor | None,
    direction: str,
    activations: Sequence[str],
    alphas: Sequence[float],
    betas: Sequence[float],
    clip: float | None,
    linear_before_reset: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gated recurrent units; gates are update z, reset r, hidden h, in this order.

    With `linear_before_reset` the reset gate applies after the state's product with its weights, as in cuDNN and
    torch, else before it, as in the paper. Two activations a direction: of z and r, and of h. Sizes are those of
    `Operands`; gives the output at every step and the last state.
    """

    def cell(one: Direction, projected: torch.Tensor, states: States) -> States:
        (h,) = states
        gate, candidate = one.functions
        size = h.shape[-1]
        z, reset = gate(projected[:, : 2 * size] + one.recurrent(h, slice(0, 2 * size))).chunk(2, 1)
        hidden_rows = slice(2 * size, 3 * size)
        if linear_before_reset:
            recurrent = reset * one.recurrent(h, hidden_rows)
        else:
            recurrent = one.recurrent(reset * h, hidden_rows)
        return ((1 - z) * candidate(projected[:, hidden_rows] + recurrent) + z * h,)

    output, final = recur(
        Operands(x, w, r, b, lengths, (initial_h,), direction), Activations(activations, alphas, betas, clip), cell
    )
    return output, final


@gru.register_fake
def _(
    x: torch.Tensor,
    w: torch.Tensor,
    r: torch.Tensor,
    b: torch.Tensor | None,
    lengths: torch.Tensor | None,
    initial_h: torch.Tensor | None,
    direction: str,
    *_options: object,
) -> tuple[torch.Tensor, torch.Tensor]:
    output, final = fake_results(Operands(x, w, r, b, lengths, (initial_h,), direction))
    return output, final
