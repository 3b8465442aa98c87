"""Compute capabilities that plans are built for: on the command line 8.9, in a manifest nvidia:sm89."""

from __future__ import annotations

from collections.abc import Iterable

from artifacts.dtype import DType
from artifacts.errors import Problem, UsageError
from artifacts.tensorrt_plan import CAPABILITY_BITS, number_of

FLAG = "--compute-capabilities"
DEFAULT = ("sm80", "sm86", "sm89", "sm120")
"""What a plan is built for if nobody says. Each one more makes the plan larger."""

_LEAST: dict[DType, str] = {
    DType.BFLOAT16: "sm80",
    DType.FLOAT8_E4M3FN: "sm89",
    DType.FLOAT8_E5M2: "sm89",
    DType.FLOAT4_E2M1FN: "sm120",
}
"""The first compute capability whose GPUs compute in a type; the builder refuses a plan for earlier ones."""


def parse_capabilities(text: str) -> tuple[str, ...]:
    """The capabilities in `8.9,12.0`, each once, ascending. Raises UsageError about all that there are none of."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    known = {number_of(capability): capability for capability in CAPABILITY_BITS}
    hint = f"known ones: {', '.join(known)}"
    UsageError.raise_if(
        Problem("options", FLAG, f"{word!r} is no compute capability that plans can be built for", hint)
        for word in words
        if word not in known
    )
    wanted = {known[word] for word in words}
    return tuple(capability for capability in CAPABILITY_BITS if capability in wanted)


def type_problems(subject: str, dtypes: Iterable[DType], capabilities: Iterable[str]) -> list[Problem]:
    """What an engine computes in that some of the GPUs cannot: a problem for each type."""
    order, found = list(CAPABILITY_BITS), list[Problem]()
    for dtype in sorted(set(dtypes) & set(_LEAST)):
        least = _LEAST[dtype]
        older = [number_of(each) for each in capabilities if order.index(each) < order.index(least)]
        if older:
            message = f"computes in {dtype}, which GPUs of compute capability {', '.join(older)} cannot"
            hint = f"leave them out of {FLAG}, or compile with another --precision"
            found.append(Problem("target", subject, message, hint))
    return found
