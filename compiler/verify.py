"""Verify: hold a finished bundle to the samples it carries, or to a source model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from artifacts.bundle import Bundle
from artifacts.checks import OutputCheck, Tolerances
from artifacts.errors import Problem, UsageError
from artifacts.manifest import ModelEntry
from artifacts.samples import Sample, stored_samples
from artifacts.schedule import Decode
from artifacts.verification import check_bundle


def verify(
    path: Path, against: Path | None, inputs: Path | None, model: str | None, tolerances: Tolerances
) -> tuple[OutputCheck, ...]:
    """Open a bundle, which checks every digest, and compare its answers with known ones.

    Without `against` the answers are the bundle's own samples, and neither torch nor onnx is needed. With it,
    they are the source model's, on `inputs` (an .npz) or on drawn ones; a decoding model is then decoded to its
    end. Raises UnspoolError.
    """
    bundle = Bundle.open(path)
    names = tuple(bundle.manifest.models) if model is None else (model,)
    unknown = [name for name in names if name not in bundle.manifest.models]
    if unknown:
        there = ", ".join(bundle.manifest.models)
        raise UsageError.of("options", "--model", f"the bundle has no model {unknown[0]!r}", f"its models: {there}")
    if against is None:
        return check_bundle(bundle, {name: stored_samples(bundle, name) for name in names}, tolerances)
    if len(names) != 1:
        there = ", ".join(names)
        raise UsageError.of("options", "--against", "one source and several models", f"choose with --model: {there}")
    samples = _source_samples(against, inputs, bundle.manifest.models[names[0]])
    return check_bundle(bundle, {names[0]: samples}, tolerances)


def _source_samples(against: Path, inputs: Path | None, entry: ModelEntry) -> tuple[Sample, ...]:
    from compiler.samples import ShapeRanges, draw_samples, read_samples
    from compiler.source_decode import source_tokens
    from compiler.source_runner import SourceRunner
    from passes.onnx_to_torch.convert import source_inputs, source_signature
    from passes.onnx_to_torch.input_hints import input_hint
    from passes.onnx_to_torch.source import load_source

    source = load_source(against)
    signature = source_signature(source)
    _check_names(entry, [s.name for s in signature.inputs], [s.name for s in signature.outputs], against)
    runner = SourceRunner(against)
    if inputs is not None:
        samples = read_samples(inputs, signature, runner)
    else:
        hints = {value.name or "": input_hint(value) for value in source_inputs(source)}
        samples = draw_samples(signature, hints, runner, ShapeRanges())
    if not isinstance(entry.schedule, Decode):
        return samples
    schedule = entry.schedule
    return tuple(
        replace(
            sample,
            decoded=source_tokens(runner, schedule, sample.inputs, sample.inputs[schedule.tokens].shape[0]),
        )
        for sample in samples
    )


def _check_names(entry: ModelEntry, inputs: list[str], outputs: list[str], against: Path) -> None:
    sides = (("inputs", entry.signature.inputs, inputs), ("outputs", entry.signature.outputs, outputs))
    UsageError.raise_if(
        Problem("verify", str(against), f"has the {side} {', '.join(found)}", f"the bundle's: {', '.join(wanted)}")
        for side, specs, found in sides
        if (wanted := [spec.name for spec in specs]) != found
    )
