"""Verify: hold a finished bundle to the samples it carries, or to a source model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from artifacts.bundle import Bundle
from artifacts.checks import OutputCheck, Tolerances
from artifacts.errors import NumericsError, Problem, UsageError
from artifacts.manifest import ModelEntry
from artifacts.samples import Sample, stored_samples
from artifacts.schedule import Decode, Single
from artifacts.verification import check_bundle
from compiler.runnable import runnable

if TYPE_CHECKING:
    from passes.onnx_to_torch.source import Source


@dataclass(frozen=True)
class Verified:
    """What a verification saw; `where` names the pass, function and node at which the answers parted.

    `sources` are the engines whose plans cannot run here: ONNX Runtime answered with what they are made of.
    """

    checks: tuple[OutputCheck, ...]
    where: str = ""
    sources: tuple[str, ...] = ()


def verify(path: Path, against: Path | None, inputs: Path | None, model: str | None, given: Tolerances) -> Verified:
    """Open a bundle, which checks every digest, and compare its answers with known ones.

    Without `against` the answers are the bundle's own samples, and neither torch nor onnx is needed, but onnx for plans
    in bfloat16 that cannot run here. With it, they are the source model's, on `inputs` (an .npz) or on drawn ones; a
    decoding model is then decoded to its end. Of an engine whose plan cannot run here the source is asked. `given`
    bounds that the user gave go before those that the bundle was made with. Raises UnspoolError.
    """
    opened = Bundle.open(path)
    with runnable(opened) as bundle:
        found = _verify(bundle, against, inputs, model, given)
        held = opened.manifest.engines
        sources = tuple(name for name, entry in bundle.manifest.engines.items() if entry is not held[name])
    return replace(found, sources=sources)


def _verify(
    bundle: Bundle, against: Path | None, inputs: Path | None, model: str | None, given: Tolerances
) -> Verified:
    numerics = bundle.manifest.numerics
    made_with = Tolerances.recorded(numerics.tolerances, numerics.exact_tokens)
    tolerances = replace(made_with, overrides=given.overrides or made_with.overrides)
    names = tuple(bundle.manifest.models) if model is None else (model,)
    unknown = [name for name in names if name not in bundle.manifest.models]
    if unknown:
        there = ", ".join(bundle.manifest.models)
        raise UsageError.of("options", "--model", f"the bundle has no model {unknown[0]!r}", f"its models: {there}")
    if against is None:
        samples = {name: stored_samples(bundle, name) for name in names}
        return Verified(check_bundle(bundle, samples, tolerances))
    if len(names) != 1:
        there = ", ".join(names)
        raise UsageError.of("options", "--against", "one source and several models", f"choose with --model: {there}")
    from compiler.parts.folder import model_at
    from compiler.parts.opening import opened_source

    with opened_source(model_at(names[0], against)) as source:
        answers = _source_samples(source, inputs, bundle.manifest.models[names[0]])
        checks = check_bundle(bundle, {names[0]: answers}, tolerances)
        moved = next((check for check in checks if not check.passed), None)
        where = "" if moved is None else _where_moved(bundle, names[0], source, answers[moved.sample], tolerances)
    return Verified(checks, where)


def _where_moved(bundle: Bundle, name: str, source: Source, sample: Sample, tolerances: Tolerances) -> str:
    """Convert the source again and hold every pass to it; if all agree, it is the engine that does not.

    What another converter made, or the user's own operators, is not converted again: only the engine is looked at.
    """
    from compiler.converters import made_by_own_converters
    from compiler.frontend import CLEANUP
    from compiler.locate import locate_in_engine, locate_in_function
    from passes.onnx_to_torch.convert import convert, source_signature
    from passes.pipeline import run_passes
    from passes.program import Model, Program
    from passes.verification import check_program

    entry = bundle.manifest.models[name]
    engine = bundle.manifest.engines[entry.held[0][entry.schedule.main][0]]
    callable_alone = all(spec.name in sample.inputs for spec in engine.signature.inputs)
    if not made_by_own_converters(bundle.manifest.tools):
        found = locate_in_engine(source, bundle.root, engine, sample, tolerances) if callable_alone else None
        return f"{found or ''}; {_NOT_CONVERTED_AGAIN}"
    function = convert(source, name, sample.inputs)
    model = Model(source_signature(source), Single(function=name), source.digest, (sample,))
    program = Program({name: function.function}, {name: model}, function.weights)
    if not all(check.passed for check in check_program(program, tolerances)):
        found = locate_in_function(source, function.function, function.weights, sample, tolerances)
        return f"; the conversion differs{found or ''}"
    try:
        run_passes(program, CLEANUP, tolerances)
    except NumericsError as error:
        return f"; {error.problems[0].message}"
    return str(locate_in_engine(source, bundle.root, engine, sample, tolerances) or "") if callable_alone else ""


_NOT_CONVERTED_AGAIN = "the source was not converted again: another converter, or code of your own, made this bundle"


def _source_samples(source: Source, inputs: Path | None, entry: ModelEntry) -> tuple[Sample, ...]:
    from compiler.decoders import token_masks
    from compiler.samples import answered_samples, draw_samples, read_samples
    from compiler.shapes import ShapeRanges
    from compiler.source_decode import decoded_sample
    from compiler.source_runner import SourceRunner
    from passes.onnx_to_torch.convert import source_inputs, source_signature
    from passes.onnx_to_torch.input_hints import input_hint

    signature = source_signature(source)
    hints = {value.name or "": input_hint(value) for value in source_inputs(source)}
    _check_names(entry, [s.name for s in signature.inputs], [s.name for s in signature.outputs], source.path)
    answered = None if inputs is None else answered_samples(inputs, signature)
    if answered is not None and not isinstance(entry.schedule, Decode):
        return answered
    runner = SourceRunner(source.path, data_folder=source.data_folder)
    if answered is not None:
        samples = answered
    elif inputs is not None:
        samples = read_samples(inputs, signature, runner)
    else:
        buckets = () if entry.buckets is None else entry.buckets.each
        taken = [entry.at(bucket).signature for bucket in buckets] or [entry.signature]
        samples = tuple(found for each in taken for found in draw_samples(each, hints, runner, ShapeRanges()))
    if not isinstance(entry.schedule, Decode):
        return samples
    masks = token_masks(signature, hints, entry.schedule.tokens)
    return tuple(decoded_sample(sample, runner, entry.schedule, masks) for sample in samples)


def _check_names(entry: ModelEntry, inputs: list[str], outputs: list[str], against: Path) -> None:
    sides = (("inputs", entry.signature.inputs, inputs), ("outputs", entry.signature.outputs, outputs))
    UsageError.raise_if(
        Problem("verify", str(against), f"has the {side} {', '.join(found)}", f"the bundle's: {', '.join(wanted)}")
        for side, specs, found in sides
        if (wanted := [spec.name for spec in specs]) != found
    )
