"""Choose how a decoder shall decode: what a step carries, who loops, and for how many tokens."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from artifacts.errors import Problem, UsageError
from artifacts.schedule import Control, Decode, Engine, Generation, Host, Partitioned, State, Unrolled
from artifacts.spec import Signature
from compiler.decoders import DecoderPorts, check_special_tokens, find_decoder
from compiler.options import CacheMode, CompileOptions, Precision, ScheduleName, WeightsName
from compiler.targets.target import Pair, Target
from passes.derive_kv_cache import LEAST_BYTES
from passes.onnx_to_torch.input_hints import InputHint
from passes.quantize_draft import QuantizeDraft

DEFAULT_PARTITIONS = 3
"""Partitions of equal length where none are named."""

DEFAULT_DRAFT = 5
"""Tokens that are guessed at a time. More of them read the exact weights less often, but a wrong one wastes those
behind it, and so does the end of a text."""

_STATES: Mapping[CacheMode, tuple[State, ...]] = {
    CacheMode.AUTO: ("cached", "recompute"),
    CacheMode.ON: ("cached",),
    CacheMode.OFF: ("recompute",),
    CacheMode.PADDED: ("padded",),
}


@dataclass(frozen=True)
class DecodePlan:
    """The decode that a model shall get, before any pass has run.

    `state` is what the passes work towards. Where they find no cache, `may_fall_back` allows `recompute` under the
    same control.
    """

    ports: DecoderPorts
    generation: Generation
    state: State
    may_fall_back: bool
    control: Control

    def whole(self, function: str) -> Decode:
        """The schedule that the source's own graph can serve: no encoder apart, and no cache."""
        return Decode(
            encoder=None,
            step=function,
            tokens=self.ports.tokens,
            logits=self.ports.logits,
            state="padded" if self.state == "padded" else "recompute",
            control=self.control,
            generation=self.generation,
        )


def plan_decode(ports: DecoderPorts, generation: Generation, options: CompileOptions, target: Target) -> DecodePlan:
    """The plan that the options ask for, else the target's first that they allow.

    Raises UsageError with everything that does not go together.
    """
    pair = _pair(options, target, generation)
    if pair[1] != ScheduleName.LOOP:
        generation = generation.with_beams(1)
    boundaries = _boundaries(options, generation)
    if pair[1] == ScheduleName.PARTITIONED:
        generation = generation.model_copy(update={"max_new_tokens": boundaries[-1]})
    fallback = ("recompute", pair[1])
    return DecodePlan(
        ports=ports,
        generation=generation,
        state=pair[0],
        may_fall_back=options.cache == CacheMode.AUTO and pair != fallback and fallback in target.decodes,
        control=_control(pair[1], boundaries),
    )


def check_decode_options(options: CompileOptions, target: Target) -> None:
    """Raise UsageError with every option of decoding that contradicts another or the target, whatever the model."""
    UsageError.raise_if([*_option_problems(options), *_draft_problems(options, target)])


def _option_problems(options: CompileOptions) -> Iterator[Problem]:
    cuts, longest = options.partitions, options.tokens.max_new_tokens
    if (options.tokens.beams or 1) > 1 and (cuts or options.schedule not in (ScheduleName.AUTO, ScheduleName.LOOP)):
        name = ScheduleName.PARTITIONED if cuts else options.schedule
        hint = "use --schedule loop: there the host chooses the tokens"
        yield Problem("options", f"--beams {options.tokens.beams}", f"does not go with --schedule {name}", hint)
    if not cuts:
        return
    flag = f"--partitions {','.join(map(str, cuts))}"
    if options.schedule not in (ScheduleName.AUTO, ScheduleName.PARTITIONED):
        yield Problem("options", flag, f"does not go with --schedule {options.schedule}", "use --schedule partitioned")
    if cuts[0] < 1 or any(b <= a for a, b in itertools.pairwise(cuts)):
        yield Problem("options", flag, "does not ascend from 1 on", "write where each partition ends, as 25,50,75")
    elif longest is not None and cuts[-1] != longest:
        hint = f"end with {longest}, or leave out --max-length: the last partition sets it"
        yield Problem("options", flag, f"ends at {cuts[-1]}, and --max-length is {longest}", hint)


def _boundaries(options: CompileOptions, generation: Generation) -> tuple[int, ...]:
    longest = generation.max_new_tokens
    cuts = (-(-longest * part // DEFAULT_PARTITIONS) for part in range(1, DEFAULT_PARTITIONS + 1))
    return options.partitions or tuple(sorted(set(cuts)))


def _control(name: ScheduleName, boundaries: tuple[int, ...]) -> Control:
    if name == ScheduleName.PARTITIONED:
        return Partitioned(boundaries=boundaries)
    return _CONTROLS[name]


_CONTROLS: Mapping[ScheduleName, Control] = {
    ScheduleName.LOOP: Host(),
    ScheduleName.ENGINE_LOOP: Engine(),
    ScheduleName.UNROLLED: Unrolled(),
}


def _pair(options: CompileOptions, target: Target, generation: Generation) -> Pair:
    """The first pair of the target's that the options allow. Raises UsageError if there is none.

    Beams are chosen by the host, so `auto` is the loop then. Beams that only a file asks for stand back behind a
    schedule that is asked for.
    """
    if options.partitions:
        options = replace(options, schedule=ScheduleName.PARTITIONED)
    elif options.schedule == ScheduleName.AUTO and generation.beams is not None:
        options = replace(options, schedule=ScheduleName.LOOP)
    for state, control in target.decodes:
        if options.schedule in (ScheduleName.AUTO, control) and state in _STATES[options.cache]:
            return state, control
    can = ", ".join(f"{control} ({state})" for state, control in target.decodes)
    asked = f"--schedule {options.schedule} --cache {options.cache}"
    raise UsageError.of("options", asked, f"target {target.name} cannot do it", f"it can do: {can}")


@dataclass(frozen=True)
class Drafting:
    """How many tokens a decode guesses at a time, and how many bytes of matrices a step has to read for that."""

    count: int = 0
    least_bytes: int = 0


def plan_drafts(options: CompileOptions, target: Target) -> Drafting:
    """As many as asked for, or where nobody says, as many as usually pay."""
    if options.draft is not None:
        return Drafting(options.draft)
    usual = _drafts(options, target) and options.in_float32 and options.weights is not WeightsName.MAPPED
    return Drafting(DEFAULT_DRAFT, LEAST_BYTES) if usual else Drafting()


def _drafts(options: CompileOptions, target: Target) -> bool:
    return QuantizeDraft.name in target.late_fusions and QuantizeDraft.name not in options.skip_passes


def _draft_problems(options: CompileOptions, target: Target) -> Iterator[Problem]:
    if not options.draft:
        return
    flag = f"--draft {options.draft}"
    schedule = ScheduleName.PARTITIONED if options.partitions else options.schedule
    others = (
        (schedule not in (ScheduleName.AUTO, ScheduleName.ENGINE_LOOP), f"--schedule {schedule}"),
        (options.cache not in (CacheMode.AUTO, CacheMode.ON), f"--cache {options.cache}"),
        ((options.tokens.beams or 1) > 1, f"--beams {options.tokens.beams}"),
        (options.precision not in (Precision.AUTO, Precision.FP32), f"--precision {options.precision}"),
        (options.tolerance is not None and options.precision is Precision.AUTO, f"--tolerance {options.tolerance}"),
        (options.weights is WeightsName.MAPPED, f"--weights {options.weights}, which no draft in 8 bits can be"),
        (QuantizeDraft.name in options.skip_passes, f"--skip-pass {QuantizeDraft.name}"),
        (QuantizeDraft.name not in target.late_fusions, f"--target {target.name}"),
    )
    for contradicts, other in others:
        if contradicts:
            hint = "guesses are for greedy decodes in float32 that an engine of ONNX Runtime loops over, with a cache"
            yield Problem("options", flag, f"does not go with {other}", hint)


@dataclass(frozen=True)
class Choice:
    """The plan for a decode, or None for a model that is called once, and what is worth telling about it."""

    plan: DecodePlan | None
    notices: tuple[str, ...] = ()


def choose_schedule(
    signature: Signature,
    hints: Mapping[str, InputHint],
    generation: Generation | None,
    options: CompileOptions,
    target: Target,
    is_causal: Callable[[DecoderPorts], bool | None],
    measured: Callable[[], Signature],
) -> Choice:
    """How the model shall decode, or that it is called once; `auto` decodes an encoder-decoder with known tokens.

    `is_causal` asks the source whether it reads tokens from left to right only; it is asked where that is what tells
    two kinds of model apart. `measured` asks it which sizes are one and the same, where the file's names do not tell.
    Raises UsageError if what is asked for does not go with the model or the target.
    """
    check_decode_options(options, target)
    if options.schedule == ScheduleName.SINGLE:
        return Choice(None)
    ports = find_decoder(signature, hints, options, generation)
    if ports is None and generation is not None:
        signature = measured()
        found = find_decoder(signature, hints, options, generation)
        # Sizes that only happened to be equal make a decoder of anything: what is clear is one that reads something.
        ports = found if found is not None and found.sources and not found.growing else None
    if ports is not None and generation is not None:
        problem = _not_decodable(ports, is_causal)
        if problem is None:
            check_special_tokens(generation, ports, signature, hints)
            filled = tuple(f"decodes with ones for {mask}, a mask of its tokens" for mask in ports.masks)
            return Choice(plan_decode(ports, generation, options, target), filled)
        if not _is_asked_for(options):
            return Choice(None, (f"is called once and does not decode: it {problem}",))
        raise UsageError.of("options", _asked(options), f"the model {problem}", "use --schedule single")
    if not _is_asked_for(options):
        if ports is None and options.tokens.start is not None:
            return Choice(None, (f"is called once and does not decode: {_NO_PORTS}; {_PORTS_HINT}",))
        return Choice(None)
    if ports is None:
        raise UsageError.of(
            "options",
            _asked(options),
            f"the model is no decoder: {_NO_PORTS}",
            f"use --schedule single; {_PORTS_HINT}",
        )
    hint = "give --bos and --eos, or put a generation_config.json beside the model"
    raise UsageError.of("options", _asked(options), "the start and end tokens are not known", hint)


_NO_PORTS = "no integer input [batch, t] goes with a float output [batch, t, vocabulary]"
_PORTS_HINT = "where the file gives their sizes other names, say --decoder-input NAME --logits NAME"


def _not_decodable(ports: DecoderPorts, is_causal: Callable[[DecoderPorts], bool | None]) -> str | None:
    """Why the model does not decode, as what it does; None if it is an encoder-decoder that does."""
    if ports.sources and not ports.growing:
        return None
    if ports.sources:
        return f"takes {', '.join(ports.growing)}, which grows with its tokens {ports.tokens!r}: export it without"
    causal = is_causal(ports)
    nothing = f"takes nothing that does not grow with its tokens {ports.tokens!r}, so there is nothing to decode from"
    if causal is None:
        return nothing
    if causal:
        return f"is decoder-only: {nothing}, and its scores do not change when tokens are appended"
    return f"is encoder-only: {nothing}, and its scores change when tokens are appended"


def _is_asked_for(options: CompileOptions) -> bool:
    """True if an option says that the model has to decode."""
    named = (*options.partitions, options.decoder_input, options.logits, options.draft or None)
    return options.schedule != ScheduleName.AUTO or any(item is not None for item in named)


def _asked(options: CompileOptions) -> str:
    if options.draft:
        return f"--draft {options.draft}"
    return f"--schedule {options.schedule}"
