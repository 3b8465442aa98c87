"""`unspool::rnn`: a simple recurrent layer (Elman 1990)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from passes.dialect.activations import Activations
from passes.dialect.recurrence import Direction, Operands, States, fake_results, recur

_SCHEMA = (
    "(Tensor x, Tensor w, Tensor r, Tensor? b, Tensor? lengths, Tensor? initial_h, str direction,"
    " str[] activations, float[] alphas, float[] betas, float? clip) -> (Tensor, Tensor)"
)


@torch.library.custom_op("unspool::rnn", mutates_args=(), schema=_SCHEMA)
def rnn(  # noqa: PLR0913, PLR0917  # the arguments of the schema
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
) -> tuple[torch.Tensor, torch.Tensor]:
    """A simple recurrent layer: one gate, one activation a direction.

    Sizes are those of `Operands`; gives the output at every step and the last state.
    """

    def cell(one: Direction, projected: torch.Tensor, states: States) -> States:
        (function,) = one.functions
        return (function(projected + one.recurrent(states[0])),)

    output, final = recur(
        Operands(x, w, r, b, lengths, (initial_h,), direction), Activations(activations, alphas, betas, clip), cell
    )
    return output, final


@rnn.register_fake
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
