"""Compute capabilities that plans are built for: on the command line 8.9, in a manifest nvidia:sm89."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from artifacts.dtype import DType
from artifacts.errors import Problem, UsageError
from artifacts.tensorrt_plan import number_of

FLAG = "--compute-capabilities"

_LEAST: dict[DType, str] = {
    DType.BFLOAT16: "sm80",
    DType.FLOAT8_E4M3FN: "sm89",
    DType.FLOAT8_E5M2: "sm89",
    DType.FLOAT4_E2M1FN: "sm120",
}
"""The first compute capability whose GPUs compute in a type; the builder refuses a plan for earlier ones."""


def parse_capabilities(text: str) -> tuple[str, ...]:
    """The capabilities in `8.9,12.0` as sm89 and sm120, each once, ascending. Raises UsageError about what is none."""
    words = {word.strip() for word in text.split(",") if word.strip()}
    UsageError.raise_if(
        Problem("options", FLAG, f"{word!r} is no compute capability", "write 8.9, or several as 8.6,8.9")
        for word in sorted(words)
        if not re.fullmatch(r"[1-9]\d?\.\d", word)
    )
    return tuple(sorted(("sm" + word.replace(".", "") for word in words), key=_generation))


def unknown_problems(asked: Iterable[str], known: Sequence[str]) -> list[Problem]:
    """A problem for each capability that a target builds nothing for."""
    hint = f"known ones: {', '.join(map(number_of, known))}"
    return [
        Problem("options", FLAG, f"nothing can be built for compute capability {number_of(capability)}", hint)
        for capability in asked
        if capability not in known
    ]


def type_problems(subject: str, dtypes: Iterable[DType], capabilities: Iterable[str]) -> list[Problem]:
    """What an engine computes in that some of the GPUs cannot: a problem for each type."""
    found = list[Problem]()
    for dtype in sorted(set(dtypes) & set(_LEAST)):
        least = _LEAST[dtype]
        older = [number_of(each) for each in capabilities if _generation(each) < _generation(least)]
        if older:
            message = f"computes in {dtype}, which GPUs of compute capability {', '.join(older)} cannot"
            hint = f"leave them out of {FLAG}, or compile with another --precision"
            found.append(Problem("target", subject, message, hint))
    return found


def _generation(capability: str) -> int:
    return int(capability.removeprefix("sm"))
