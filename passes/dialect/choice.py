"""`unspool::two_stage_choice`: the likeliest token, out of a few, where a bound proves that it is one of them."""

from __future__ import annotations

import torch


@torch.library.custom_op(
    "unspool::two_stage_choice",
    mutates_args=(),
    schema=(
        "(Tensor hidden, Tensor ended, Tensor rows, Tensor? bias, Tensor codes, Tensor scales, Tensor bounds,"
        " Tensor ceilings, Tensor margins, int candidates) -> (Tensor, Tensor)"
    ),
)
def two_stage_choice(  # noqa: PLR0913, PLR0917  # the arguments of the schema
    hidden: torch.Tensor,
    ended: torch.Tensor,
    rows: torch.Tensor,
    bias: torch.Tensor | None,
    codes: torch.Tensor,
    scales: torch.Tensor,
    bounds: torch.Tensor,
    ceilings: torch.Tensor,
    margins: torch.Tensor,
    candidates: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """argmax(hidden rows^T + bias) of each row of the batch, int64 [batch, 1], and whether it took the full product.

    `hidden` is float32 [batch, 1, size], `rows` float32 [tokens, size], `bias` float32 [tokens]. The rest is what
    `passes.quantized_rows` makes of them, where the bounds are derived: `codes` int8 [size, tokens], `scales` and
    `ceilings` float32 [tokens], `bounds` float32 [2, tokens], `margins` float32 [2]. A product in integers bounds
    every score from above; those with the `candidates` highest bounds are computed exactly. If the best of them is
    above the next one, and above the last bound, by more than any order of the additions could change, it is what the
    full product finds. Rows for which it is not, and that have not `ended`, bool [batch, 1], get the full product; if
    there are any the second result, int64 [], is 1 and not 0.
    """
    vectors = hidden.flatten(1)
    integers, step = _in_bytes(vectors)
    lost = vectors - integers * step
    lengths = [torch.linalg.vector_norm(part, dim=1, keepdim=True) for part in (vectors, lost)]
    # In float64 the sums of integers are exact, as they are in the engines' integers.
    products = (integers.double() @ codes.double()).float() * (step * scales) + ceilings
    highest, places = (products + torch.cat(lengths, 1) @ bounds).topk(candidates)
    exact = (rows[places] @ vectors[:, :, None]).squeeze(2)
    exact = exact if bias is None else exact + bias[places]
    leading, order = exact.topk(2)
    ahead = leading[:, :1] - torch.maximum(leading[:, 1:], highest[:, -1:])
    proven = (ahead > lengths[0] * margins[0] + margins[1]) | ended
    chosen = places.gather(1, order[:, :1])
    if bool(proven.all()):
        return chosen, torch.tensor(0)
    left = ~proven[:, 0]
    scores = vectors[left] @ rows.T
    scores = scores if bias is None else scores + bias
    chosen[left] = scores.argmax(1, keepdim=True)
    return chosen, torch.tensor(1)


def _in_bytes(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The values in 256 steps from the least to the greatest, less that of zero, as DynamicQuantizeLinear has them."""
    least, greatest = values.min().clamp(max=0), values.max().clamp(min=0)
    step = (greatest - least) / 255
    step = torch.where(step == 0, torch.ones_like(step), step)
    zero = (-least / step).round().clamp(0, 255)
    return ((values / step).round() + zero).clamp(0, 255) - zero, step


@two_stage_choice.register_fake
def _(hidden: torch.Tensor, *_operands: object) -> tuple[torch.Tensor, torch.Tensor]:
    return hidden.new_empty((hidden.shape[0], 1), dtype=torch.int64), hidden.new_empty((), dtype=torch.int64)
