"""What the targets for AWS Neuron have in common: a model's engines as HLO that was looked through and proven."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from artifacts.checks import require_equal
from artifacts.errors import TargetError
from artifacts.spec import Signature
from compiler.hlo.hlo_engines import HloSource, HloSources, hlo_sources
from compiler.hlo.second_weights import check_second_weights
from compiler.neuron.preflight import Preflight, errors_of, warnings_of
from compiler.targets.target import BuiltEngine, Made, ModelEngines, Tell
from passes.program import Program


@dataclass(frozen=True, eq=False)
class Proven:
    """The engines of one model as HLO modules, what the user should know of them, and what shapes they take."""

    sources: HloSources
    notices: tuple[str, ...]
    takes: str

    def engines(
        self,
        made: Callable[[str, HloSource], Made],
        files: Callable[[str, HloSource], Mapping[str, bytes]] = lambda _name, _source: {},
        notices: Sequence[str] = (),
    ) -> ModelEngines:
        """The model's engines, with what `made` says became of each, and the further `files` that it comes with."""
        engines = {
            name: BuiltEngine(
                source=source.data,
                suffix=".hlo.pb",
                signature=source.signature,
                made=made(name, source),
                bindings=source.bindings,
                aliases=source.aliases,
                files=files(name, source),
            )
            for name, source in self.sources.engines.items()
        }
        return ModelEngines(engines, self.sources.functions, (*self.notices, *notices), self.takes)


def proven_sources(program: Program, model: str, preflight: Preflight, tell: Tell) -> Proven:
    """Lower functions to HLO, or the decode that they make, at the shapes of the model's first sample.

    Raises UnsupportedError with every operator that has no lowering, TargetError with all that `preflight` finds to be
    refused, NumericsError if an engine answers otherwise than the program with other weights.
    """
    found = program.models[model]
    shapes = {name: array.shape for name, array in found.samples[0].inputs.items()}
    sources = hlo_sources(program, model, shapes)
    found_before = {name: preflight(source.data) for name, source in sources.engines.items()}
    TargetError.raise_if(problem for name, each in found_before.items() for problem in errors_of(name, each))
    tell("with other weights")
    checks = check_second_weights(program, model, sources)
    require_equal(checks, "emit", "lowering, with other weights")
    taken = _taken(found.signature, getattr(found.schedule, "tokens", ""), shapes, sources)
    warnings = [notice for name, each in found_before.items() for notice in warnings_of(name, each)]
    warnings += [
        f"with other weights {check.comparison.mismatched} of {check.comparison.size} {check.output} are not those of "
        "the program in torch: fewer bits turn near ties"
        for check in checks
        if not check.comparison.passed
    ]
    return Proven(sources, tuple(warnings), taken)


def _taken(signature: Signature, tokens: str, shapes: Mapping[str, tuple[int, ...]], sources: HloSources) -> str:
    """The shapes of the caller's inputs, for a notice."""
    callers = {spec.name for source in sources.engines.values() for spec in source.signature.inputs}
    return ", ".join(
        f"{spec.name} {'x'.join(map(str, shapes[spec.name]))}"
        for spec in signature.inputs
        if spec.name in shapes and spec.name in callers and spec.name != tokens
    )
