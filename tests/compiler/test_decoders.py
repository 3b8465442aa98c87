from __future__ import annotations

import pytest

from artifacts.dtype import DType
from artifacts.spec import Signature, TensorSpec
from compiler.decoders import DecoderPorts, find_decoder
from passes.onnx_to_torch.input_hints import InputHint
from tests.support.bundles import spec

INT, FLOAT = DType.INT64, DType.FLOAT32

BERT = Signature(
    inputs=(spec("input_ids", INT, "batch", "seq"), spec("attention_mask", INT, "batch", "seq")),
    outputs=(spec("logits", FLOAT, "batch", 3),),
)
OCR = Signature(
    inputs=(spec("image", FLOAT, "batch", 1, 32, "width"), spec("decoder_input_ids", INT, "batch", "t")),
    outputs=(spec("logits", FLOAT, "batch", "t", 39),),
)
BART = Signature(
    inputs=(
        spec("input_ids", INT, "batch", "encoder"),
        spec("attention_mask", INT, "batch", "encoder"),
        spec("decoder_input_ids", INT, "batch", "decoder"),
    ),
    outputs=(spec("logits", FLOAT, "batch", "decoder", 200),),
)
MASKED_DECODER = Signature(
    inputs=(spec("mask", INT, "batch", "t"), spec("ids", INT, "batch", "t")),
    outputs=(spec("hidden", FLOAT, "batch", 8), spec("logits", FLOAT, "batch", "t", 50)),
)


@pytest.mark.parametrize(
    ("signature", "hints", "ports"),
    [
        (BERT, {"input_ids": InputHint(table=100)}, None),
        (OCR, {}, DecoderPorts("decoder_input_ids", "logits")),
        (BART, {"input_ids": InputHint(table=200)}, DecoderPorts("decoder_input_ids", "logits")),
        (MASKED_DECODER, {"ids": InputHint(table=50)}, DecoderPorts("ids", "logits")),
        (MASKED_DECODER, {}, DecoderPorts("mask", "logits")),
    ],
)
def test_the_ports_of_a_decoder(signature: Signature, hints: dict[str, InputHint], ports: DecoderPorts | None) -> None:
    assert find_decoder(signature, hints) == ports


@pytest.mark.parametrize(
    ("tokens", "logits"),
    [
        (spec("ids", FLOAT, "batch", "t"), spec("logits", FLOAT, "batch", "t", 9)),
        (spec("ids", DType.BOOL, "batch", "t"), spec("logits", FLOAT, "batch", "t", 9)),
        (spec("ids", INT, "batch", "t"), spec("logits", INT, "batch", "t", 9)),
        (spec("ids", INT, "t"), spec("logits", FLOAT, "batch", "t", 9)),
        (spec("ids", INT, "batch", 8), spec("logits", FLOAT, "batch", 8, 9)),
        (spec("ids", INT, "batch", "t"), spec("logits", FLOAT, "batch", "s", 9)),
        (spec("ids", INT, "batch", "t"), spec("logits", FLOAT, "t", "batch", 9)),
        (spec("ids", INT, "batch", "t"), spec("logits", FLOAT, "batch", "t", "v")),
        (spec("ids", INT, "batch", "t"), spec("logits", FLOAT, "batch", "t")),
    ],
)
def test_what_is_not_a_decoder(tokens: TensorSpec, logits: TensorSpec) -> None:
    assert find_decoder(Signature(inputs=(tokens,), outputs=(logits,)), {}) is None
