from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest

from artifacts.dtype import DType
from artifacts.errors import UsageError
from artifacts.schedule import Decode, Generation, Schedule, Single
from artifacts.spec import Signature, TensorSpec
from compiler.decoders import DecoderPorts, choose_schedule, find_decoder
from compiler.options import CacheMode, CompileOptions, ScheduleName
from compiler.targets.onnxruntime import OnnxRuntimeTarget
from compiler.targets.target import Pair
from passes.onnx_to_torch.input_hints import InputHint
from tests.support.bundles import spec

INT, FLOAT = DType.INT64, DType.FLOAT32
GENERATION = Generation(start=1, eos=(2,), pad=0, max_new_tokens=75)

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


@dataclass(frozen=True)
class Both(OnnxRuntimeTarget):
    """A target that loops by itself with a cache, or lets the host loop without one."""

    name: ClassVar[str] = "both"
    decodes: ClassVar[tuple[Pair, ...]] = (
        ("cached", ScheduleName.UNROLLED),
        ("recompute", ScheduleName.LOOP),
        ("recompute", ScheduleName.UNROLLED),
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


def choose(
    signature: Signature = OCR,
    generation: Generation | None = GENERATION,
    schedule: ScheduleName = ScheduleName.AUTO,
    cache: CacheMode = CacheMode.AUTO,
) -> Schedule:
    options = CompileOptions(schedule=schedule, cache=cache)
    return choose_schedule("main", signature, {}, generation, options, Both())


def pair(schedule: Schedule) -> tuple[str, str]:
    assert isinstance(schedule, Decode)
    assert (schedule.step, schedule.tokens, schedule.logits) == ("main", "decoder_input_ids", "logits")
    assert schedule.generation == GENERATION
    return schedule.state, schedule.control.kind


@pytest.mark.parametrize(("signature", "generation"), [(BERT, GENERATION), (OCR, None)])
def test_auto_keeps_the_graph_without_a_decoder_or_its_tokens(
    signature: Signature, generation: Generation | None
) -> None:
    assert choose(signature, generation) == Single(function="main")


def test_single_keeps_the_graph_of_a_decoder() -> None:
    assert choose(schedule=ScheduleName.SINGLE) == Single(function="main")


@pytest.mark.parametrize(
    ("schedule", "found"),
    [(ScheduleName.LOOP, ("recompute", "host")), (ScheduleName.UNROLLED, ("recompute", "unrolled"))],
)
def test_without_a_cache_the_first_pair_that_the_target_can_do(schedule: ScheduleName, found: tuple[str, str]) -> None:
    assert pair(choose(schedule=schedule, cache=CacheMode.OFF)) == found


def test_auto_without_a_cache_takes_the_targets_first_pair_that_has_none() -> None:
    assert pair(choose(cache=CacheMode.OFF)) == ("recompute", "host")


@pytest.mark.parametrize(
    ("schedule", "cache", "asked"),
    [
        (ScheduleName.ENGINE_LOOP, CacheMode.AUTO, "--schedule engine-loop"),
        (ScheduleName.PARTITIONED, CacheMode.AUTO, "--schedule partitioned"),
        (ScheduleName.LOOP, CacheMode.ON, "--cache on"),
    ],
)
def test_what_a_target_cannot_do_is_answered_with_what_it_can(
    schedule: ScheduleName, cache: CacheMode, asked: str
) -> None:
    with pytest.raises(UsageError) as caught:
        choose(schedule=schedule, cache=cache)
    (problem,) = caught.value.problems
    assert asked in problem.subject
    assert "both" in problem.message
    assert problem.hint == "it can do: unrolled (cached), loop (recompute), unrolled (recompute)"


def test_a_schedule_for_a_model_that_is_no_decoder() -> None:
    with pytest.raises(UsageError) as caught:
        choose(BERT, schedule=ScheduleName.LOOP)
    (problem,) = caught.value.problems
    assert "no decoder" in problem.message
    assert "--schedule single" in problem.hint


def test_a_schedule_without_start_and_end_tokens() -> None:
    with pytest.raises(UsageError) as caught:
        choose(generation=None, schedule=ScheduleName.LOOP)
    (problem,) = caught.value.problems
    assert "not known" in problem.message
    assert "--bos and --eos" in problem.hint
    assert "generation_config.json" in problem.hint
