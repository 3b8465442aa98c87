from __future__ import annotations

import pytest

from artifacts.dtype import DType
from artifacts.errors import UsageError
from artifacts.schedule import Generation
from artifacts.spec import Signature, TensorSpec
from compiler.decoders import DecoderPorts, check_special_tokens, find_decoder
from compiler.options import CompileOptions
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
        (OCR, {}, DecoderPorts("decoder_input_ids", "logits", ("image",))),
        (
            BART,
            {"input_ids": InputHint(table=200)},
            DecoderPorts("decoder_input_ids", "logits", ("input_ids", "attention_mask")),
        ),
        (MASKED_DECODER, {"ids": InputHint(table=50)}, DecoderPorts("ids", "logits", (), ("mask",))),
        (MASKED_DECODER, {}, DecoderPorts("mask", "logits", (), ("ids",))),
        (
            MASKED_DECODER,
            {"ids": InputHint(table=50), "mask": InputHint(table=2)},
            DecoderPorts("ids", "logits", (), (), ("mask",)),
        ),
    ],
)
def test_the_ports_of_a_decoder(signature: Signature, hints: dict[str, InputHint], ports: DecoderPorts | None) -> None:
    assert find_decoder(signature, hints, CompileOptions(), None) == ports


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
    assert find_decoder(Signature(inputs=(tokens,), outputs=(logits,)), {}, CompileOptions(), None) is None


SEVERAL = Signature(
    inputs=(
        spec("image", FLOAT, "batch", 3),
        spec("types", INT, "batch", "t"),
        spec("ids", INT, "batch", "t"),
    ),
    outputs=(spec("logits", FLOAT, "batch", "t", 50), spec("hidden", FLOAT, "batch", "t", 64)),
)
HINTS = {"types": InputHint(table=2), "ids": InputHint(table=50)}
GENERATION = Generation(start=1, eos=(2,), pad=0, max_new_tokens=9)


@pytest.mark.parametrize(
    ("options", "tokens", "logits"),
    [
        (CompileOptions(), "ids", "logits"),
        (CompileOptions(logits="hidden"), "ids", "hidden"),
        (CompileOptions(decoder_input="types"), "types", "hidden"),
    ],
)
def test_of_several_the_tokens_have_the_largest_table_and_the_scores_its_width(
    options: CompileOptions, tokens: str, logits: str
) -> None:
    found = find_decoder(SEVERAL, HINTS, options, None)
    assert found is not None
    assert (found.tokens, found.logits) == (tokens, logits)


def test_ports_that_are_both_named_may_have_sizes_of_other_names() -> None:
    """An export whose dynamic axes are numbers names each of them after its tensor."""
    scores = spec("logits", FLOAT, "logits_dynamic_axes_1", "logits_dynamic_axes_2", 39)
    unnamed = OCR.model_copy(update={"outputs": (scores,)})
    assert find_decoder(unnamed, {}, CompileOptions(), None) is None
    assert find_decoder(unnamed, {}, CompileOptions(decoder_input="decoder_input_ids"), None) is None
    both = CompileOptions(decoder_input="decoder_input_ids", logits="logits")
    assert find_decoder(unnamed, {}, both, None) == DecoderPorts("decoder_input_ids", "logits", ("image",))


def test_the_scores_have_room_for_the_special_tokens() -> None:
    found = find_decoder(SEVERAL, HINTS, CompileOptions(), GENERATION.model_copy(update={"eos": (55,)}))
    assert found is not None
    assert found.logits == "hidden"


def test_names_that_there_are_not_are_told_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        find_decoder(SEVERAL, HINTS, CompileOptions(decoder_input="tokens", logits="scores"), None)
    assert [problem.subject for problem in caught.value.problems] == ["--decoder-input tokens", "--logits scores"]


def test_special_tokens_beyond_the_vocabulary_are_told_at_once() -> None:
    rules = GENERATION.model_copy(update={"eos": (2, 50), "forced_first": 70, "suppressed": (49, 51)})
    with pytest.raises(UsageError) as caught:
        check_special_tokens(rules, DecoderPorts("ids", "logits"), SEVERAL, {})
    found = [problem.subject for problem in caught.value.problems]
    assert found == ["forced first token 70", "end (1) token 50", "suppressed (1) token 51"]
