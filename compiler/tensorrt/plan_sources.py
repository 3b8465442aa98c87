"""What a builder of plans is handed: the engines of a model in ONNX, and what each is to be built for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from artifacts.errors import Problem, TargetError
from artifacts.plan_build import PlanBuild
from compiler.onnx_engines import ModelSources, OnnxSource, model_sources
from compiler.shapes import ShapeRanges, symbol_ranges
from compiler.tensorrt.capabilities import type_problems
from compiler.tensorrt.inlining import with_codes_inlined
from compiler.tensorrt.profiles import decode_ranges, profile_of, size_problems

if TYPE_CHECKING:
    from compiler.targets.target import Placement
    from passes.program import Program


def plan_sources(
    program: Program, model: str, placement: Placement, capabilities: Sequence[str], *, inline_bytes: int
) -> tuple[ModelSources, Mapping[str, PlanBuild]]:
    """The engines that a model's schedule needs, and by name what each is to be built for.

    Raises TargetError with every symbol without sizes and every type that a GPU lacks, of all engines at once.
    """
    found = program.models[model]
    signatures = {name: program.functions[name].signature for name in found.schedule.functions}
    counted = decode_ranges(found.schedule, signatures)
    ranges = [{**symbol_ranges(found.signature, shapes), **counted} for shapes in placement.shapes or (ShapeRanges(),)]
    sources = model_sources(program, model, placement, inline_bytes=inline_bytes)
    handed = {name: with_codes_inlined(source) for name, source in sources.engines.items()}

    def problems_of(name: str, source: OnnxSource) -> list[Problem]:
        missing = size_problems(f"engine {name}", source.signature, ranges[0])
        return missing + type_problems(f"engine {name}", source.dtypes(), capabilities)

    def build_of(source: OnnxSource) -> PlanBuild:
        profiles = [profile_of(source.signature, each) for each in ranges]
        return PlanBuild(
            dtypes=tuple(sorted(source.dtypes())),
            capabilities=tuple(capabilities),
            profiles=tuple(profile for profile in profiles if profile),
            options=placement.builder,
        )

    TargetError.raise_if(chain.from_iterable(problems_of(*each) for each in handed.items()))
    return replace(sources, engines=handed), {name: build_of(source) for name, source in handed.items()}
