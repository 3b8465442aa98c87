"""`unspool::quantized_linear` and `unspool::quantized_embedding`: rows of weights in 8 or 4 bits, in blocks.

`passes.quantized_blocks` makes the codes, uint8 [rows, blocks, bytes], and scales, float32 [rows, blocks].
"""

from __future__ import annotations

import torch


@torch.library.custom_op(
    "unspool::quantized_linear",
    mutates_args=(),
    schema="(Tensor x, Tensor codes, Tensor scales, Tensor? bias, int bits, bool rounds) -> Tensor",
)
def quantized_linear(
    x: torch.Tensor, codes: torch.Tensor, scales: torch.Tensor, bias: torch.Tensor | None, bits: int, rounds: bool
) -> torch.Tensor:
    """X [..., size] times the transposed matrix, plus `bias` [rows]: float32 [..., rows].

    With `rounds` the operand is rounded as well: each of its rows, block by block as the weights are, to integers
    from -127 to 127 with the scale max |x| / 127. So no row of it has a say in what another one gives.
    """
    integers = _integers(codes, bits)
    rows, blocks, block = integers.shape
    parts = x.reshape(-1, blocks, block)
    if rounds:
        step = parts.abs().amax(2, keepdim=True) / 127
        parts = (parts / torch.where(step > 0, step, 1)).round()
        total = x.new_zeros(len(parts), rows)
        for number in range(blocks):
            # Sums of up to 256 products of 8-bit integers are exact in float32.
            total += (parts[:, number] @ integers[:, number].T) * (step[:, number] * scales[:, number])
    else:
        total = parts.flatten(1) @ (integers * scales[:, :, None]).flatten(1).T
    total = total.reshape(*x.shape[:-1], rows)
    return total if bias is None else total + bias


@quantized_linear.register_fake
def _(x: torch.Tensor, codes: torch.Tensor, *_operands: object) -> torch.Tensor:
    return x.new_empty((*x.shape[:-1], codes.shape[0]))


@torch.library.custom_op(
    "unspool::quantized_embedding",
    mutates_args=(),
    schema="(Tensor codes, Tensor scales, Tensor indices, int bits) -> Tensor",
)
def quantized_embedding(codes: torch.Tensor, scales: torch.Tensor, indices: torch.Tensor, bits: int) -> torch.Tensor:
    """The rows of the matrix at `indices` [...]: float32 [..., size]."""
    taken = _integers(codes[indices].flatten(0, -3), bits) * scales[indices].flatten(0, -2)[:, :, None]
    return taken.reshape(*indices.shape, -1)


@quantized_embedding.register_fake
def _(codes: torch.Tensor, scales: torch.Tensor, indices: torch.Tensor, bits: int) -> torch.Tensor:
    return scales.new_empty((*indices.shape, codes.shape[1] * codes.shape[2] * 8 // bits))


def _integers(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """Codes less that of zero, float32 [rows, blocks, block]."""
    if bits == 4:
        codes = torch.stack((codes & 15, codes >> 4), 3).flatten(2)
    return codes.float() - (1 << (bits - 1))
