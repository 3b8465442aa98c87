"""Before a source is converted: what it takes, how it is to decode, and the answers that everything is held to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from artifacts.errors import RunError, UnsupportedError
from artifacts.padding import sizes_of
from artifacts.report import BucketChoice
from artifacts.samples import Sample
from artifacts.schedule import Decode, Generation, Single
from artifacts.spec import Signature
from compiler.buckets.asked import Asked, asked_buckets
from compiler.buckets.draw import Drawn, drawn_buckets, filled
from compiler.causality import is_causal
from compiler.converters import ModelConverter
from compiler.decode_plan import DecodePlan, choose_schedule
from compiler.decoders import DecoderPorts
from compiler.generation import read_generation, read_pad
from compiler.measured_sizes import measured_signature
from compiler.options import CompileOptions, ModelFile
from compiler.samples import answered_samples, draw_at, draw_samples, read_samples
from compiler.source_decode import PROBE_TOKENS, decoded_sample
from compiler.source_runner import Answers, SourceRunner
from compiler.targets import Target
from passes.onnx_to_torch.convert import source_inputs, source_signature
from passes.onnx_to_torch.input_hints import InputHint, input_hint
from passes.onnx_to_torch.source import Source
from passes.program import Model


@dataclass(frozen=True, eq=False)
class Loaded:
    """A source that was read and checked, with its signature and what its graph says about its inputs."""

    name: str
    source: Source
    signature: Signature
    hints: Mapping[str, InputHint]
    generation: Generation | None
    answers: Answers

    def runner(self) -> SourceRunner:
        """The source, to be asked what it has not answered yet."""
        return SourceRunner(self.source.path, data_folder=self.source.data_folder, answers=self.answers)


def load(
    model: ModelFile,
    source: Source,
    options: CompileOptions,
    converter: ModelConverter,
    answers: Answers | None = None,
) -> Loaded:
    """What is known of a source before it is run: signature, hints, and the generation settings beside it.

    `answers` are those that it gave before.

    Raises UnsupportedError with every gap at once: a source that cannot be converted is not run either.
    """
    UnsupportedError.raise_if(converter.gaps(source))
    signature = source_signature(source)
    for ranges in options.ranges:
        ranges.check(signature)
    hints = {value.name or "": input_hint(value) for value in source_inputs(source)}
    generation = read_generation(model.path, options.tokens)
    return Loaded(model.name, source, signature, hints, generation, {} if answers is None else answers)


@dataclass(frozen=True, eq=False)
class Sampled:
    """A model with the source's answers, its schedule still that of the source's graph, and what is planned for it.

    `buckets` are requests of the sizes that its engines are to have, which were `chosen` if a histogram was given.
    """

    model: Model
    plan: DecodePlan | None = None
    notices: tuple[str, ...] = ()
    buckets: Drawn | None = None
    chosen: BucketChoice | None = None


def sample(loaded: Loaded, options: CompileOptions, target: Target) -> Sampled:
    """Choose the schedule, and ask the source model for the answers that everything is held to.

    The source is not run if the user's samples hold the answers, unless it has to decode.
    """

    def causal(ports: DecoderPorts) -> bool | None:
        runner = loaded.runner()
        return is_causal(runner, loaded.signature, loaded.hints, ports)

    def measured() -> Signature:
        try:
            runner = loaded.runner()
            return measured_signature(loaded.signature, draw_samples(loaded.signature, loaded.hints, runner, ranges))
        except RunError:
            return loaded.signature

    # A plan takes no other sizes than those that it was built for.
    ranges = options.ranges[0].filled if target.builder_options else options.ranges[0]
    choice = choose_schedule(loaded.signature, loaded.hints, loaded.generation, options, target, causal, measured)
    plan = choice.plan
    schedule = Single(function=loaded.name) if plan is None else plan.whole(loaded.name)
    answered = None if options.samples is None else answered_samples(options.samples, loaded.signature)
    asked = asked_buckets(options, target, loaded.name, loaded.signature)
    if answered is not None and not isinstance(schedule, Decode) and asked is None:
        return Sampled(Model(loaded.signature, schedule, loaded.source.digest, answered), None, choice.notices)
    runner = loaded.runner()
    drawn = None if asked is None else _drawn(loaded, asked, plan, options, runner)
    if answered is not None:
        samples = answered
    elif drawn is not None and options.samples is None:
        # One size at least 2 in all: another becomes a constant when it is traced.
        traced = {
            symbol: max(2, size) for symbol, size in sizes_of(loaded.signature.inputs, drawn.each[0].inputs).items()
        }
        samples = (draw_at(loaded.signature, loaded.hints, runner, traced), drawn.each[0])
    elif options.samples is not None:
        samples = read_samples(options.samples, loaded.signature, runner)
    else:
        samples = draw_samples(loaded.signature, loaded.hints, runner, ranges)
    if target.static_shapes and drawn is None:
        samples = of_first_size(samples)
    if isinstance(schedule, Decode):
        probe, masks = schedule.shortened(PROBE_TOKENS), () if plan is None else plan.ports.masks
        samples = tuple(decoded_sample(found, runner, probe, masks) for found in samples)
        drawn = None if drawn is None else drawn.answered(lambda found: decoded_sample(found, runner, probe, masks))
    notices, chosen = choice.notices, None if asked is None else asked.choice
    if drawn is not None:
        notices = (*notices, *(() if chosen is None else (str(chosen),)), *drawn.notices)
    model = Model(loaded.signature, schedule, loaded.source.digest, samples)
    return Sampled(model, plan, notices, drawn, chosen)


def _drawn(
    loaded: Loaded, asked: Asked, plan: DecodePlan | None, options: CompileOptions, runner: SourceRunner
) -> Drawn:
    """Requests for the buckets of a model. A decode makes its tokens, and what masks them, by itself."""
    own = () if plan is None else (plan.ports.tokens, *plan.ports.masks)
    callers = [spec for spec in loaded.signature.inputs if spec.name not in own]

    def answered(sizes: Mapping[str, int]) -> Sample:
        return draw_at(loaded.signature, loaded.hints, runner, sizes)

    drawn = drawn_buckets(callers, asked.each, answered)
    pad = read_pad(loaded.source.path, options.tokens)
    return filled(drawn, callers, loaded.hints, pad, options.padding)


def of_first_size(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """Those of the samples whose inputs have the sizes of the first's."""
    return tuple(found for found in samples if _sizes(found) == _sizes(samples[0]))


def _sizes(found: Sample) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in found.inputs.items()}
