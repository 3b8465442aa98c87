"""Find the decoder in a model's signature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from artifacts.spec import Signature, TensorSpec
from passes.onnx_to_torch.input_hints import InputHint


@dataclass(frozen=True)
class DecoderPorts:
    """The decoder's input of tokens, [batch, t], and its output that scores them, [batch, t, vocabulary]."""

    tokens: str
    logits: str


def find_decoder(signature: Signature, hints: Mapping[str, InputHint]) -> DecoderPorts | None:
    """The ports of a decoder, told by shapes alone: an integer input and a float output share batch and time.

    An input that indexes a table goes before one that does not: a padding mask has the same shape as the tokens.
    """
    found = [
        (hints.get(tokens.name, InputHint()).table is None, DecoderPorts(tokens.name, logits.name))
        for logits in signature.outputs
        for tokens in signature.inputs
        if _scores(tokens, logits)
    ]
    return min(found, key=lambda item: item[0])[1] if found else None


def _scores(tokens: TensorSpec, logits: TensorSpec) -> bool:
    return (
        tokens.dtype.is_integer
        and tokens.rank == 2
        and logits.dtype.is_float
        and logits.rank == 3
        and isinstance(tokens.shape[1], str)
        and logits.shape[:2] == tokens.shape
        and isinstance(logits.shape[2], int)
    )
