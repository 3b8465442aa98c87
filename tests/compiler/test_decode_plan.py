from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest

from artifacts.dtype import DType
from artifacts.errors import UsageError
from artifacts.schedule import Beams, Decode, Engine, Generation, Host, Partitioned, State
from artifacts.spec import Signature
from compiler.decode_plan import (
    DEFAULT_DRAFT,
    Choice,
    DecodePlan,
    Drafting,
    check_decode_options,
    choose_schedule,
    plan_decode,
    plan_drafts,
)
from compiler.decoders import DecoderPorts
from compiler.generation import TokenFlags
from compiler.options import CacheMode, CompileOptions, Precision, ScheduleName, WeightsName
from compiler.targets.onnxruntime import OnnxRuntimeTarget
from compiler.targets.target import Pair
from passes.derive_kv_cache import LEAST_BYTES
from tests.support.bundles import spec

GENERATION = Generation(start=1, eos=(2,), pad=0, max_new_tokens=75)
PORTS = DecoderPorts("decoder_input_ids", "logits")


@dataclass(frozen=True)
class Versatile(OnnxRuntimeTarget):
    """A target that can do most things, and loops in the engine with a cache by default."""

    name: ClassVar[str] = "versatile"
    decodes: ClassVar[tuple[Pair, ...]] = (
        ("cached", ScheduleName.ENGINE_LOOP),
        ("cached", ScheduleName.LOOP),
        ("recompute", ScheduleName.LOOP),
        ("padded", ScheduleName.LOOP),
        ("cached", ScheduleName.PARTITIONED),
    )


def plan(
    schedule: ScheduleName = ScheduleName.AUTO,
    cache: CacheMode = CacheMode.AUTO,
    partitions: tuple[int, ...] = (),
    generation: Generation = GENERATION,
) -> DecodePlan:
    options = CompileOptions(schedule=schedule, cache=cache, partitions=partitions)
    return plan_decode(PORTS, generation, options, Versatile())


@pytest.mark.parametrize(
    ("schedule", "cache", "state", "kind", "may_fall_back"),
    [
        (ScheduleName.AUTO, CacheMode.AUTO, "cached", "engine", False),
        (ScheduleName.LOOP, CacheMode.AUTO, "cached", "host", True),
        (ScheduleName.LOOP, CacheMode.ON, "cached", "host", False),
        (ScheduleName.LOOP, CacheMode.OFF, "recompute", "host", False),
        (ScheduleName.LOOP, CacheMode.PADDED, "padded", "host", False),
        (ScheduleName.AUTO, CacheMode.OFF, "recompute", "host", False),
        (ScheduleName.PARTITIONED, CacheMode.AUTO, "cached", "partitioned", False),
    ],
)
def test_the_targets_first_pair_that_the_options_allow(
    schedule: ScheduleName, cache: CacheMode, state: State, kind: str, may_fall_back: bool
) -> None:
    found = plan(schedule, cache)
    assert (found.state, found.control.kind, found.may_fall_back) == (state, kind, may_fall_back)
    assert (found.ports, found.generation) == (PORTS, GENERATION)


@pytest.mark.parametrize(
    ("schedule", "cache", "asked"),
    [
        (ScheduleName.UNROLLED, CacheMode.AUTO, "--schedule unrolled --cache auto"),
        (ScheduleName.ENGINE_LOOP, CacheMode.OFF, "--schedule engine-loop --cache off"),
        (ScheduleName.PARTITIONED, CacheMode.PADDED, "--schedule partitioned --cache padded"),
    ],
)
def test_what_a_target_cannot_do_is_answered_with_what_it_can(
    schedule: ScheduleName, cache: CacheMode, asked: str
) -> None:
    with pytest.raises(UsageError) as caught:
        plan(schedule, cache)
    (problem,) = caught.value.problems
    assert problem.subject == asked
    assert "versatile" in problem.message
    assert problem.hint.startswith("it can do: engine-loop (cached), loop (cached), loop (recompute)")


@pytest.mark.parametrize(("longest", "boundaries"), [(75, (25, 50, 75)), (10, (4, 7, 10)), (2, (1, 2)), (1, (1,))])
def test_partitions_are_thirds_where_none_are_named(longest: int, boundaries: tuple[int, ...]) -> None:
    found = plan(ScheduleName.PARTITIONED, generation=GENERATION.model_copy(update={"max_new_tokens": longest}))
    assert found.control == Partitioned(boundaries=boundaries)
    assert found.generation.max_new_tokens == longest


@pytest.mark.parametrize("schedule", [ScheduleName.AUTO, ScheduleName.PARTITIONED])
@pytest.mark.parametrize("partitions", [(10, 40), (75,), (50, 100)])
def test_named_partitions_say_who_loops_and_for_how_long(schedule: ScheduleName, partitions: tuple[int, ...]) -> None:
    found = plan(schedule, partitions=partitions)
    assert found.control == Partitioned(boundaries=partitions)
    assert found.generation.max_new_tokens == partitions[-1]


@pytest.mark.parametrize(
    ("partitions", "schedule", "longest", "messages"),
    [
        ((50, 25), ScheduleName.PARTITIONED, None, ["does not ascend"]),
        ((0, 25), ScheduleName.PARTITIONED, None, ["does not ascend"]),
        ((25, 25), ScheduleName.AUTO, None, ["does not ascend"]),
        ((25, 50), ScheduleName.PARTITIONED, 75, ["ends at 50, and --max-length is 75"]),
        ((25, 50), ScheduleName.UNROLLED, 75, ["does not go with --schedule unrolled", "ends at 50"]),
        ((25, 50), ScheduleName.SINGLE, 50, ["does not go with --schedule single"]),
    ],
)
def test_options_that_contradict_each_other(
    partitions: tuple[int, ...], schedule: ScheduleName, longest: int | None, messages: list[str]
) -> None:
    tokens = TokenFlags(max_new_tokens=longest)
    with pytest.raises(UsageError) as caught:
        check_decode_options(CompileOptions(partitions=partitions, schedule=schedule, tokens=tokens), Versatile())
    assert len(caught.value.problems) == len(messages)
    for problem, message in zip(caught.value.problems, messages, strict=True):
        assert message in problem.message
        assert problem.hint


@pytest.mark.parametrize("state", ["cached", "recompute", "padded"])
def test_the_sources_own_graph_is_served_without_a_cache(state: State) -> None:
    found = DecodePlan(PORTS, GENERATION, state, may_fall_back=True, control=Engine()).whole("main")
    assert found == Decode(
        encoder=None,
        step="main",
        tokens="decoder_input_ids",
        logits="logits",
        state="padded" if state == "padded" else "recompute",
        control=Engine(),
        generation=GENERATION,
    )


BERT = Signature(
    inputs=(spec("input_ids", DType.INT64, "batch", "seq"),), outputs=(spec("logits", DType.FLOAT32, "batch", 3),)
)
OCR = Signature(
    inputs=(spec("image", DType.FLOAT32, "batch", 1, 32, "w"), spec("decoder_input_ids", DType.INT64, "batch", "t")),
    outputs=(spec("logits", DType.FLOAT32, "batch", "t", 39),),
)


def choose(
    signature: Signature = OCR,
    generation: Generation | None = GENERATION,
    schedule: ScheduleName = ScheduleName.AUTO,
    partitions: tuple[int, ...] = (),
    causal: bool | None = None,
    start: int | None = None,
    measured: Signature | None = None,
    draft: int | None = None,
) -> Choice:
    options = CompileOptions(schedule=schedule, partitions=partitions, tokens=TokenFlags(start=start), draft=draft)
    source = signature if measured is None else measured
    return choose_schedule(signature, {}, generation, options, Versatile(), lambda _: causal, lambda: source)


@pytest.mark.parametrize(("signature", "generation"), [(BERT, GENERATION), (OCR, None)])
def test_auto_keeps_the_graph_without_a_decoder_or_its_tokens(
    signature: Signature, generation: Generation | None
) -> None:
    assert choose(signature, generation) == Choice(None)


def test_single_keeps_the_graph_of_a_decoder() -> None:
    assert choose(schedule=ScheduleName.SINGLE) == Choice(None)


def test_a_decoder_with_known_tokens_decodes() -> None:
    found = choose().plan
    assert found is not None
    assert found.ports == DecoderPorts("decoder_input_ids", "logits", ("image",))


def test_where_names_of_sizes_do_not_tell_a_decoder_the_source_is_asked() -> None:
    unnamed = OCR.model_copy(update={"outputs": (spec("logits", DType.FLOAT32, "d0", "d1", 39),)})
    found = choose(unnamed, measured=OCR).plan
    assert found is not None
    assert found.ports == DecoderPorts("decoder_input_ids", "logits", ("image",))
    assert choose(unnamed) == Choice(None)


def test_sizes_that_happen_to_be_equal_make_no_decoder() -> None:
    apart = spec("ids", DType.INT64, "batch", "a"), spec("mask", DType.INT64, "batch", "b")
    unnamed = Signature(inputs=apart, outputs=(spec("logits", DType.FLOAT32, "batch", "c", 39),))
    assert choose(unnamed, measured=ROBERTA) == Choice(None)


ROBERTA = Signature(
    inputs=(spec("ids", DType.INT64, "batch", "t"), spec("mask", DType.INT64, "batch", "t")),
    outputs=(spec("logits", DType.FLOAT32, "batch", "t", 39),),
)


@pytest.mark.parametrize(
    ("causal", "kind"), [(True, "is decoder-only"), (False, "is encoder-only"), (None, "nothing to decode from")]
)
def test_a_model_of_tokens_alone_is_told_for_what_it_is(causal: bool | None, kind: str) -> None:
    (notice,) = choose(ROBERTA, causal=causal).notices
    assert kind in notice
    with pytest.raises(UsageError, match=kind):
        choose(ROBERTA, causal=causal, schedule=ScheduleName.LOOP)


def test_tokens_beyond_the_vocabulary_are_refused() -> None:
    with pytest.raises(UsageError, match="end token 39"):
        choose(generation=GENERATION.model_copy(update={"eos": (39,)}))


@pytest.mark.parametrize(
    ("schedule", "partitions"), [(ScheduleName.LOOP, ()), (ScheduleName.AUTO, (25, 75)), (ScheduleName.UNROLLED, ())]
)
def test_a_schedule_for_a_model_that_is_no_decoder(schedule: ScheduleName, partitions: tuple[int, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        choose(BERT, schedule=schedule, partitions=partitions)
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


BEAMS = GENERATION.model_copy(update={"beams": Beams(width=4)})


def test_beams_are_looped_over_by_the_host() -> None:
    found = plan(generation=BEAMS)
    assert (found.control, found.generation) == (Host(), BEAMS)


def test_beams_that_only_a_file_asks_for_stand_back_behind_a_schedule() -> None:
    found = plan(ScheduleName.ENGINE_LOOP, generation=BEAMS)
    assert (found.control, found.generation) == (Engine(), GENERATION)


@pytest.mark.parametrize(
    ("schedule", "partitions", "name"),
    [(ScheduleName.ENGINE_LOOP, (), "engine-loop"), (ScheduleName.AUTO, (25, 75), "partitioned")],
)
def test_beams_that_a_flag_asks_for_need_the_loop(
    schedule: ScheduleName, partitions: tuple[int, ...], name: str
) -> None:
    options = CompileOptions(schedule=schedule, partitions=partitions, tokens=TokenFlags(beams=4))
    with pytest.raises(UsageError, match=f"--beams 4: does not go with --schedule {name}"):
        check_decode_options(options, Versatile())


def test_a_start_token_for_a_model_in_which_no_decoder_is_found_is_told_to_be_unused() -> None:
    (notice,) = choose(BERT, start=1).notices
    assert "does not decode" in notice
    assert "--decoder-input NAME --logits NAME" in notice
    assert choose(BERT).notices == ()


@dataclass(frozen=True)
class Guessless(Versatile):
    """A target whose engines guess no tokens."""

    name: ClassVar[str] = "guessless"
    late_fusions: ClassVar[tuple[str, ...]] = ()


USUAL = Drafting(DEFAULT_DRAFT, LEAST_BYTES)


@pytest.mark.parametrize(
    ("options", "target", "drafting"),
    [
        (CompileOptions(), Versatile(), USUAL),
        (CompileOptions(precision=Precision.FP32), Versatile(), USUAL),
        (CompileOptions(draft=2), Versatile(), Drafting(2)),
        (CompileOptions(draft=0), Versatile(), Drafting()),
        (CompileOptions(precision=Precision.INT8), Versatile(), Drafting()),
        (CompileOptions(tolerance=0.1), Versatile(), Drafting()),
        (CompileOptions(weights=WeightsName.MAPPED), Versatile(), Drafting()),
        (CompileOptions(weights=WeightsName.PREPACKED), Versatile(), USUAL),
        (CompileOptions(skip_passes=("quantize-draft",)), Versatile(), Drafting()),
        (CompileOptions(), Guessless(), Drafting()),
    ],
)
def test_large_steps_in_float32_are_guessed_unless_somebody_says_otherwise(
    options: CompileOptions, target: Versatile, drafting: Drafting
) -> None:
    check_decode_options(options, target)
    assert plan_drafts(options, target) == drafting


def test_everything_that_guesses_do_not_go_with_is_told_at_once() -> None:
    options = CompileOptions(
        draft=3,
        schedule=ScheduleName.LOOP,
        cache=CacheMode.OFF,
        tokens=TokenFlags(beams=4),
        precision=Precision.INT8,
        weights=WeightsName.MAPPED,
        skip_passes=("quantize-draft",),
    )
    with pytest.raises(UsageError) as caught:
        check_decode_options(options, Guessless())
    flags = ["--schedule loop", "--cache off", "--beams 4", "--precision int8"]
    flags += ["--weights mapped, which no draft in 8 bits can be", "--skip-pass quantize-draft", "--target guessless"]
    assert [problem.message for problem in caught.value.problems] == [f"does not go with {flag}" for flag in flags]
    assert all(problem.hint and problem.subject == "--draft 3" for problem in caught.value.problems)


def test_guesses_for_a_model_that_is_no_decoder() -> None:
    with pytest.raises(UsageError, match="--draft 3: the model is no decoder"):
        choose(BERT, draft=3)
