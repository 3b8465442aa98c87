"""What of `--precision` and the flags that go with it a target cannot do, told before anything is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from artifacts.dtype import DType
from artifacts.errors import Problem
from compiler.options import CompileOptions, Precision
from compiler.targets import Target
from compiler.tensorrt.capabilities import type_problems

STAGE = "options"

_COMPUTES_IN: Mapping[Precision, DType] = MappingProxyType(
    {Precision.BF16: DType.BFLOAT16, Precision.FP8: DType.FLOAT8_E4M3FN}
)
"""Types that not every GPU has."""


def precision_problems(options: CompileOptions, target: Target) -> Iterator[Problem]:
    """Every problem with the precision, its tolerance, its calibration, and the GPUs that it is for."""
    precision, flag = options.precision, f"--precision {options.precision}"
    if precision not in (Precision.AUTO, *target.precisions):
        can = ", ".join(target.precisions)
        yield Problem(STAGE, flag, f"target {target.name} cannot do it", f"it can do: {can}")
        return
    if options.tolerance is not None and precision is Precision.FP32:
        subject = f"--tolerance {options.tolerance}"
        yield Problem(STAGE, subject, "is for fewer bits than float32", "choose another --precision")
    finds_layers = precision is Precision.AUTO and options.tolerance is not None
    has_codes = finds_layers or precision in {Precision.INT8, Precision.FP8}
    if options.calibration is not None and not has_codes:
        subject, hint = f"--calibration {options.calibration}", "leave it out, or give --precision int8"
        yield Problem(STAGE, subject, f"finds ranges that {flag} has no use for", hint)
    if options.calibration is None and has_codes and not target.row_scales:
        subject = f"{flag} --tolerance {options.tolerance}" if finds_layers else flag
        message = f"needs --calibration: what target {target.name} runs has no scales that each row finds for itself"
        yield Problem(STAGE, subject, message, "give a folder of requests like those that will come")
    if precision in _COMPUTES_IN:
        gpus = options.compute_capabilities or target.default_capabilities
        yield from type_problems(flag, [_COMPUTES_IN[precision]], gpus)
