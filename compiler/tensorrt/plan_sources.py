"""What the builders of both kinds are handed: the engines of a model in ONNX, and what each is to be built for."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING

from artifacts.errors import TargetError
from artifacts.plan_build import PlanBuild
from compiler.onnx_engines import OnnxSource, model_sources
from compiler.shapes import ShapeRanges, symbol_ranges
from compiler.targets.target import BuiltEngine, ModelEngines, Placement, PlanSource
from compiler.tensorrt.capabilities import type_problems
from compiler.tensorrt.profiles import decode_ranges, profile_of, size_problems
from compiler.tensorrt.weights import INLINE_BYTES

if TYPE_CHECKING:
    from compiler.targets.target import Target
    from passes.program import Program


def plan_engines(
    target: Target, program: Program, model: str, placement: Placement, capabilities: Sequence[str]
) -> ModelEngines:
    """The engines that a model's schedule needs, as far as the target makes plans of them.

    Raises TargetError with every symbol without sizes and every type that a GPU lacks, of all engines at once, and
    what the target raises.
    """
    found = program.models[model]
    signatures = {name: program.functions[name].signature for name in found.schedule.functions}
    counted = decode_ranges(found.schedule, signatures)
    ranges = [{**symbol_ranges(found.signature, shapes), **counted} for shapes in placement.shapes or (ShapeRanges(),)]
    sources = model_sources(program, model, placement, inline_bytes=INLINE_BYTES)
    TargetError.raise_if(
        chain.from_iterable(
            (
                *(
                    problem
                    for each in ranges[:1]
                    for problem in size_problems(f"engine {name}", source.signature, each)
                ),
                *type_problems(f"engine {name}", source.dtypes(), capabilities),
            )
            for name, source in sources.engines.items()
        )
    )

    def build_of(source: OnnxSource) -> PlanBuild:
        profiles = [profile_of(source.signature, each) for each in ranges]
        return PlanBuild(
            dtypes=tuple(sorted(source.dtypes())),
            capabilities=tuple(capabilities),
            profiles=tuple(profile for profile in profiles if profile),
            options=placement.builder,
        )

    handed = {name: PlanSource(source.data, build_of(source)) for name, source in sources.engines.items()}
    plans = target.plans(handed, placement.root, placement.tell)
    engines = {
        name: BuiltEngine(source.data, ".onnx", source.signature, plans.engines[name], source.bindings)
        for name, source in sources.engines.items()
    }
    return ModelEngines(engines, sources.functions, plans.notices)
