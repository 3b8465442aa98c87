"""The front half of a compilation: model files in, one verified Program out, whatever the target."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from artifacts.canonical import canonical_json, sha256_bytes
from artifacts.checks import Tolerances, require_equal
from artifacts.errors import SourceError
from artifacts.freed_memory import give_back
from artifacts.samples import Arrays, archive_bytes
from artifacts.schedule import Decode, Engine, Host
from artifacts.spec import Signature
from compiler.buckets.draw import Drawn, with_buckets
from compiler.build_log import BuildLog
from compiler.calibration import read_calibration
from compiler.converters import ModelConverter
from compiler.decode_limit import within_limit
from compiler.decode_plan import DecodePlan, Drafting, plan_drafts
from compiler.generation import unapplied_settings
from compiler.locate import locate_in_function
from compiler.nan_outputs import nan_notices
from compiler.options import CompileOptions, ModelFile
from compiler.parts.with_past import check_with_past
from compiler.precision import precision_pass
from compiler.provenance import SourceTensors, source_tensors
from compiler.sampling import Loaded, Sampled, load, of_first_size, sample
from compiler.skipped_passes import LAST_PASSES
from compiler.source_decode import PROBE_TOKENS, request_sample
from compiler.source_runner import Answers
from compiler.targets import Target
from passes.bound_cache import BoundCache
from passes.contract import Pass
from passes.decode_cost import decode_costs
from passes.deduplicate_weights import DeduplicateWeights
from passes.derive_kv_cache import DeriveKvCache
from passes.eliminate_common_subexpressions import EliminateCommonSubexpressions
from passes.eliminate_dead_code import EliminateDeadCode
from passes.fill_decoder_mask import fill_decoder_mask
from passes.fold_constants import FoldConstants
from passes.memo import FORGETFUL, Memo
from passes.movement import movements
from passes.onnx_to_torch.source import Source
from passes.pipeline import run_passes
from passes.program import Model, Program
from passes.registry import all_passes
from passes.split_encoder_decoder import SplitEncoderDecoder
from passes.tabulate_positions import TabulatePositions
from passes.verification import check_program

CLEANUP: tuple[Pass, ...] = (FoldConstants(), EliminateCommonSubexpressions(), EliminateDeadCode())
"""The passes of every compilation, in order."""


NO_DRAFTS = Drafting()


def passes_for(
    plans: Sequence[DecodePlan],
    target: Target,
    deduplicate: DeduplicateWeights,
    skipped: Collection[str] = (),
    drafting: Drafting = NO_DRAFTS,
) -> tuple[tuple[Pass, ...], ...]:
    """The passes of a compilation whose models decode as planned, in order, in groups.

    What a decode costs is counted after each group: as the source has it, with the encoder apart, as it will be.
    `drafting` says where tokens are guessed.
    """
    fusions = _named(target.fusions, skipped)
    if not plans:
        return ((*CLEANUP, *fusions, deduplicate),)
    cached = [plan for plan in plans if plan.state == "cached"]
    required = not all(plan.may_fall_back for plan in cached)
    derive: tuple[Pass, ...] = (
        (DeriveKvCache(required, drafting.count, drafting.least_bytes), TabulatePositions()) if cached else ()
    )
    if target.static_shapes and any(isinstance(plan.control, Host | Engine) for plan in cached):
        derive = (*derive, BoundCache())  # a loop calls one engine, of one shape; positions that are written out do not
    return (CLEANUP, (SplitEncoderDecoder(),), (*derive, *CLEANUP, *fusions, deduplicate))


def _named(passes: Sequence[str], skipped: Collection[str]) -> tuple[Pass, ...]:
    return tuple(all_passes()[name]() for name in passes if name not in skipped)


def make_program(
    models: Sequence[ModelFile],
    sources: Mapping[str, Source],
    options: CompileOptions,
    target: Target,
    converter: ModelConverter,
    log: BuildLog,
    memo: Memo = FORGETFUL,
) -> Program:
    """Load, sample, convert and transform models into one Program over one set of weights.

    Every step is held to the source models on the samples. What a `memo` has from another compilation of the same
    models is not done again. Raises UnspoolError.
    """
    tolerances = Tolerances.of(options.atol, options.rtol)
    parts = [_convert_one(model, sources[model.name], options, target, converter, log, memo) for model in models]
    program = functools.reduce(Program.merged, (part for part, _ in parts))
    deduplicate = DeduplicateWeights(merge_casts=options.merge_casts)
    groups = passes_for(
        [plan for _, plan in parts if plan is not None],
        target,
        deduplicate,
        options.skip_passes,
        plan_drafts(options, target),
    )
    stages = [program]
    for group in groups:
        stages.append(_passed(stages[-1], group, tolerances, log, memo))
    reduced = precision_pass(stages[-1], options, target, log)
    # What fewer bits make of a slice and of the whole are two contents again.
    fewer_bits = () if reduced is None else (reduced, deduplicate)
    last = (*fewer_bits, *_named((*LAST_PASSES, *target.late_fusions), options.skip_passes))
    stages.append(_passed(stages[-1], last, tolerances, log, memo))
    log.decode_costs += decode_costs(*stages[1:])
    if target.static_shapes:
        stages.append(at_fixed_sizes(stages[-1]))
    for after, counted in (("convert", program), ("fusions", stages[-2]), ("passes", stages[-1])):
        log.movements += movements(counted, after)
    return stages[-1]


def at_fixed_sizes(program: Program) -> Program:
    """The program with models that take inputs of the sizes of their first sample, and no others.

    One that has buckets stays as it is.
    """

    def fixed(model: Model) -> Model:
        if model.buckets is not None:
            return model
        sizes: dict[str, int] = {}
        for spec in model.signature.inputs:
            for dim, size in zip(spec.shape, model.samples[0].inputs.get(spec.name, np.empty(0)).shape, strict=False):
                if isinstance(dim, str):
                    sizes.setdefault(dim, size)
        sides = {
            side: tuple(
                spec.model_copy(
                    update={"shape": tuple(sizes.get(dim, dim) if isinstance(dim, str) else dim for dim in spec.shape)}
                )
                for spec in specs
            )
            for side, specs in (("inputs", model.signature.inputs), ("outputs", model.signature.outputs))
        }
        return replace(model, signature=Signature(**sides))

    return replace(program, models={name: fixed(model) for name, model in program.models.items()})


def _passed(program: Program, group: Sequence[Pass], tolerances: Tolerances, log: BuildLog, memo: Memo) -> Program:
    with log.stage("passes", ", ".join(step.name for step in group)):
        program, runs = run_passes(program, group, tolerances, memo=memo)
        for run in runs:
            log.record_pass(run)
    return program


def _convert_one(
    file: ModelFile,
    source: Source,
    options: CompileOptions,
    target: Target,
    converter: ModelConverter,
    log: BuildLog,
    memo: Memo,
) -> tuple[Program, DecodePlan | None]:
    tolerances = Tolerances.of(options.atol, options.rtol)
    answers: Answers = memo.once(("answers", source.digest), dict)
    loaded = load(file, source, options, converter, answers)
    with log.stage("sample", f"{file.name}: what the source answers"):
        sampled = sample(loaded, options, target)
        model = replace(sampled.model, calibration=_calibration(sampled, file.name, options))
        check_with_past(file, model.samples, tolerances)
        log.notices += [f"{file.name}: {notice}" for notice in nan_notices(loaded.source, model)]
    with log.stage("convert", f"{file.name} to PyTorch"):
        masks = () if sampled.plan is None else sampled.plan.ports.masks
        if sampled.buckets is not None:
            log.buckets += [] if sampled.chosen is None else [sampled.chosen]
        asked = options.tokens.max_new_tokens is not None or bool(options.partitions)
        key = (_content(loaded, model), tuple(masks), options.converter, options.custom_ops, asked, sampled.buckets)
        program, notices, tensors = memo.once(
            ("converted", key), lambda: _converted(loaded, model, converter, masks, sampled.buckets, asked, memo)
        )
        log.sources.append(tensors)
        checks = memo.once((program, tolerances, True), lambda: check_program(program, tolerances))
    idle = () if sampled.plan is None else unapplied_settings(file.path)
    notices = (*sampled.notices, *notices, *(f"decodes without applying {setting}" for setting in idle))
    log.notices += [f"{file.name}: {notice}" for notice in notices]
    log.record(checks, "convert")
    moved = next((check for check in checks if not check.passed), None)
    if moved is not None:
        function = next(iter(program.functions.values()))
        found = locate_in_function(loaded.source, function, program.weights, model.samples[moved.sample], tolerances)
        require_equal(checks, "convert", "conversion", str(found or ""))
    if model.calibration:
        with log.stage("sample", f"{file.name}: what the source answers to calibration requests"):
            program = _held_to_calibration(program, loaded, masks)
    give_back()
    return program, sampled.plan


def _content(loaded: Loaded, model: Model) -> str:
    """A digest of what a model is converted from: its source, and what it is sampled and scheduled by."""
    arrays = [found for each in model.samples for found in (each.inputs, each.outputs, each.decoded)]
    return sha256_bytes(
        canonical_json(
            {
                "name": loaded.name,
                "source": loaded.source.digest,
                "signature": model.signature.model_dump(mode="json"),
                "schedule": model.schedule.model_dump(mode="json"),
                "samples": [sha256_bytes(archive_bytes(found)) for found in (*arrays, *model.calibration)],
            }
        )
    )


def _converted(
    loaded: Loaded,
    model: Model,
    converter: ModelConverter,
    masks: Sequence[str],
    buckets: Drawn | None,
    asked: bool,
    memo: Memo,
) -> tuple[Program, tuple[str, ...], SourceTensors]:
    """A model's program with its buckets and its limit of tokens, with notices, and what its tensors are."""
    program, notices = to_program(loaded, model, converter, masks, memo)
    if buckets is not None:
        program = _bucketed(program, loaded.name, buckets)
    program, limited = within_limit(program, loaded.name, asked)
    return program, (*notices, *limited), source_tensors(loaded.source.model, program.weights)


def _bucketed(program: Program, name: str, drawn: Drawn) -> Program:
    """The program of one model, converted, with its buckets."""
    model = program.models[name]
    return replace(program, models={name: with_buckets(model, drawn.fill.keys(), drawn)})


HELD_REQUESTS = 2
"""Calibration requests that stand for all when a program is compared with its source."""


def _held_to_calibration(program: Program, loaded: Loaded, masks: Sequence[str]) -> Program:
    """The program of one model with requests of its calibration for samples.

    What is drawn is not what the ranges of 8-bit values were found from, and lies outside of them.
    """
    (model,) = program.models.values()
    runner = loaded.runner()
    schedule = model.schedule.shortened(PROBE_TOKENS) if isinstance(model.schedule, Decode) else model.schedule
    samples = tuple(
        request_sample(request, runner, loaded.signature, schedule, masks)
        for request in model.calibration[:HELD_REQUESTS]
    )
    return replace(program, models={loaded.name: replace(model, samples=samples)})


def _calibration(sampled: Sampled, name: str, options: CompileOptions) -> tuple[Arrays, ...]:
    """The calibration requests of a model; its decode makes the tokens, and masks of them are ones."""
    if options.calibration is None:
        return ()
    schedule = sampled.model.schedule
    tokens = (schedule.tokens,) if isinstance(schedule, Decode) else ()
    masks = () if sampled.plan is None else sampled.plan.ports.masks
    return read_calibration(options.calibration, name, sampled.model.signature.inputs, (*tokens, *masks))


def to_program(
    loaded: Loaded, model: Model, converter: ModelConverter, masks: Sequence[str] = (), memo: Memo = FORGETFUL
) -> tuple[Program, tuple[str, ...]]:
    """Convert a model to a Program of one function, with notices for the user; `masks` become ones.

    Targets that take one size are held to fewer samples than others: a `memo` shares what both are traced to.
    """
    first = model.samples[0].inputs
    small = [
        f"{spec.name} axis {axis}"
        for spec in loaded.signature.inputs
        for axis, dim in enumerate(spec.shape)
        if isinstance(dim, str) and first[spec.name].shape[axis] < 2
    ]
    if small:
        hint = "give inputs whose symbolic dimensions are 2 or more"
        where = ", ".join(small)
        raise SourceError.of("convert", loaded.name, f"the sample has size 0 or 1 at {where}", hint)
    function = model.schedule.functions[0]
    with_tools = tuple(sorted(converter.tools().items()))
    converted = memo.once(
        ("traced", loaded.source.digest, function, sha256_bytes(archive_bytes(first)), with_tools),
        lambda: converter.convert(loaded.source, function, first),
    )
    time = frozenset[str]()
    if isinstance(model.schedule, Decode):
        size = converted.function.signature.input(model.schedule.tokens).shape[1]
        time = frozenset({size}) if isinstance(size, str) else time
        if converted.fixed:
            hint = "use --schedule single, or Unspool's own converter"
            raise SourceError.of("convert", loaded.name, "is fixed to one number of tokens and cannot decode", hint)
    body = replace(fill_decoder_mask(converted.function, masks), time=time)
    notices = converted.notices
    if converted.fixed:
        sizes = ", ".join(map(str, body.signature.inputs))
        notices = (f"was recorded for these sizes only, choose others with --opt-shapes: {sizes}",)
        model = replace(model, samples=of_first_size(model.samples))
    # The traced signature is the truer one: it knows sizes that the file leaves open or the graph does not allow.
    traced = replace(model, signature=converted.function.signature)
    return Program({function: body}, {loaded.name: traced}, converted.weights), notices
