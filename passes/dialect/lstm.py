"""`unspool::lstm`: long short-term memory (Hochreiter and Schmidhuber 1997), with peepholes (Gers et al. 2002)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from passes.dialect.activations import Activations
from passes.dialect.recurrence import Direction, Operands, States, fake_results, recur

_SCHEMA = (
    "(Tensor x, Tensor w, Tensor r, Tensor? b, Tensor? lengths, Tensor? initial_h, Tensor? initial_c, Tensor? p,"
    " str direction, str[] activations, float[] alphas, float[] betas, float? clip, bool input_forget)"
    " -> (Tensor, Tensor, Tensor)"
)


@torch.library.custom_op("unspool::lstm", mutates_args=(), schema=_SCHEMA)
def lstm(  # noqa: PLR0913, PLR0917  # the arguments of the schema
    x: torch.Tensor,
    w: torch.Tensor,
    r: torch.Tensor,
    b: torch.Tensor | None,
    lengths: torch.Tensor | None,
    initial_h: torch.Tensor | None,
    initial_c: torch.Tensor | None,
    p: torch.Tensor | None,
    direction: str,
    activations: Sequence[str],
    alphas: Sequence[float],
    betas: Sequence[float],
    clip: float | None,
    input_forget: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Long short-term memory; gates are input i, output o, forget f, cell c, in this order.

    `p` are peephole weights, [directions, 3*hidden] for i, o and f. With `input_forget` the forget gate is 1 - i.
    Three activations a direction: of the gates, of the cell's candidate, and of the cell's state. Other sizes are
    those of `Operands`; gives the output at every step, the last output and the last cell state.
    """
    given = Activations(activations, alphas, betas, clip)
    # ONNX has all inputs of functions clipped; ONNX Runtime, whose answers models are held to, not the state's.
    unclipped = replace(given, clip=None).functions()

    def cell(one: Direction, projected: torch.Tensor, states: States) -> States:
        h, c = states
        gate, candidate, _ = one.functions
        i, o, f, new = (projected + one.recurrent(h)).chunk(4, 1)
        peepholes = None if p is None else p[one.number].chunk(3)
        if peepholes is not None:
            i, f = i + peepholes[0] * c, f + peepholes[2] * c
        i = gate(i)
        f = 1 - i if input_forget else gate(f)
        c = f * c + i * candidate(new)
        if peepholes is not None:
            o = o + peepholes[1] * c
        return gate(o) * unclipped[3 * one.number + 2](c), c

    output, last_h, last_c = recur(
        Operands(x, w, r, b, lengths, (initial_h, initial_c), direction),
        given,
        cell,
    )
    return output, last_h, last_c


@lstm.register_fake
def _(
    x: torch.Tensor,
    w: torch.Tensor,
    r: torch.Tensor,
    b: torch.Tensor | None,
    lengths: torch.Tensor | None,
    initial_h: torch.Tensor | None,
    initial_c: torch.Tensor | None,
    _p: torch.Tensor | None,
    direction: str,
    *_options: object,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    output, last_h, last_c = fake_results(Operands(x, w, r, b, lengths, (initial_h, initial_c), direction))
    return output, last_h, last_c
