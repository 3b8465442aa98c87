"""From `--precision` to passes; and with `auto`, from a tolerance to the layers that need more bits than the rest."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType

from artifacts.checks import Tolerances
from artifacts.report import LayerSensitivity
from artifacts.tolerances import TOLERANCES, Tolerance
from compiler.build_log import BuildLog
from compiler.options import CompileOptions, Precision
from compiler.targets import Target
from passes.lower_precision import LowerPrecision
from passes.precision import PrecisionPass
from passes.program import Program
from passes.quantize_static import QuantizeStatic
from passes.quantize_weights import QuantizeWeights
from passes.verification import check_program

STAGE = "precision"


def _in_8_bits(options: CompileOptions, target: Target) -> PrecisionPass:
    """With scales that requests have fixed, if there are requests, else with those that each row has."""
    if options.calibration is None:
        return QuantizeWeights(bits=8, rounds=True)
    return QuantizeStatic(method=options.calibration_method.value, codes=target.codes)


def _in_float8(options: CompileOptions, _target: Target) -> PrecisionPass:
    return QuantizeStatic(method=options.calibration_method.value, codes="float8_e4m3fn")


_PASSES: Mapping[Precision, Callable[[CompileOptions, Target], PrecisionPass]] = MappingProxyType(
    {
        Precision.FP16: lambda _options, _target: LowerPrecision(dtype="float16"),
        Precision.BF16: lambda _options, _target: LowerPrecision(dtype="bfloat16"),
        Precision.INT8: _in_8_bits,
        Precision.FP8: _in_float8,
        Precision.INT8_WEIGHT: lambda _options, _target: QuantizeWeights(bits=8, rounds=False),
        Precision.INT4_WEIGHT: lambda _options, _target: QuantizeWeights(bits=4, rounds=False, block=32),
    }
)

_SHARE = Tolerances(tuple((dtype, Tolerance(atol=0.0, rtol=0.0, scale=1.0)) for dtype in TOLERANCES))
"""With these the factor that a comparison requires is the share of the largest element that an element is off by."""


def precision_pass(program: Program, options: CompileOptions, target: Target, log: BuildLog) -> PrecisionPass | None:
    """The pass that brings a program to the precision that was asked for, as the target has it; None if it is float32.

    With `auto` and a tolerance it is the one for 8 bits, which keeps as few layers as it can.
    """
    if options.in_float32:
        return None
    if options.precision is not Precision.AUTO:
        return replace(_PASSES[options.precision](options, target), at_most=options.tolerance)
    assert options.tolerance is not None
    step = replace(_in_8_bits(options, target), at_most=options.tolerance)
    with log.stage(STAGE, f"which of {len(step.layers(program))} layers 8 bits are enough for"):
        found = fitted(program, step, options.tolerance)
    log.sensitivity += found.layers
    log.notices.append(_told(found))
    return found.step


@dataclass(frozen=True)
class Fitted:
    """A pass that keeps layers so that a tolerance is met, and what each layer alone costs, the dearest first."""

    step: PrecisionPass
    layers: tuple[LayerSensitivity, ...]


def fitted(program: Program, step: PrecisionPass, tolerance: float) -> Fitted:
    """Keep as few layers as meet the tolerance: those that move an output most if they alone have fewer bits.

    How far outputs move is measured in the interpreter on the samples, for a decode on the scores of given tokens, as
    a share of the largest element. The dearest layers are kept, as many as it takes by bisection; then each of them is
    let go again if the tolerance is met without it.
    """
    layers = step.layers(program)
    every = [place for layer in layers for place in layer]

    @cache
    def error(kept: frozenset[tuple[str, ...]]) -> float:
        keep = tuple(place for place in every if any(place in layer for layer in kept))
        return _error(replace(step, keep=keep)(program).program)

    first = _with_first_samples(program)
    alone = {layer: _error(replace(step, keep=_all_but(layer, every))(first).program) for layer in layers}
    ranked = sorted(layers, key=lambda layer: -alone[layer])
    low, high = 0, len(ranked)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if error(frozenset(ranked[:middle])) <= tolerance else (middle + 1, high)
    kept = frozenset(ranked[:high])
    for layer in reversed(ranked[:high]):
        if error(kept - {layer}) <= tolerance:
            kept -= {layer}
    sensitivity = tuple(
        LayerSensitivity(layer=", ".join(layer), error=alone[layer], kept=layer in kept) for layer in ranked
    )
    return Fitted(replace(step, keep=tuple(place for place in every if any(place in k for k in kept))), sensitivity)


def _all_but(layer: Collection[str], every: Collection[str]) -> tuple[str, ...]:
    return tuple(place for place in every if place not in layer)


def _with_first_samples(program: Program) -> Program:
    """The program with one sample a model: enough to rank layers by."""
    return replace(program, models={n: replace(m, samples=m.samples[:1]) for n, m in program.models.items()})


def _error(program: Program) -> float:
    checks = check_program(program, _SHARE, decodes=False)
    return max(check.comparison.required for check in checks)


def _told(found: Fitted) -> str:
    kept = [layer for layer in found.layers if layer.kept]
    head = f"computes in 8 bits in {len(found.layers) - len(kept)} of {len(found.layers)} layers"
    return head + (f"; in float32 stay {'; '.join(layer.layer for layer in kept)}" if kept else "")
