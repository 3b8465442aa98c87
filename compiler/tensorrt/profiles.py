"""Optimization profiles: the smallest, usual and largest sizes that an engine is built for.

The user gives sizes of the source model's inputs. What a symbol ranges over there holds for every engine that has it.
How much of a cache is filled, or how many tokens there are so far, follows from the number of tokens to generate.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from artifacts.errors import Problem
from artifacts.plan_build import Profile, Sizes
from artifacts.schedule import Decode, Schedule
from artifacts.spec import Dim, Signature
from compiler.shapes import FLAGS, Range

_SUM = re.compile(r"(?P<symbol>.+) \+ (?P<count>\d+)")


def decode_ranges(schedule: Schedule, signatures: Mapping[str, Signature]) -> dict[str, Range]:
    """What the symbols that a decode counts range over: tokens so far, in a cache or as they are."""
    if not isinstance(schedule, Decode):
        return {}
    limit, ranges = schedule.generation.max_new_tokens, dict[str, Range]()
    signature = signatures[schedule.step]
    inputs = {spec.name: spec for spec in signature.inputs}
    for slot in schedule.slots:
        grows = slot.axis is not None and slot.input in inputs
        dim = inputs[slot.input].shape[slot.axis or 0] if grows else 0
        if isinstance(dim, str):
            # A cache that is filled by the encoder's step is not empty at first, and is never full before the last.
            ranges[dim] = Range(0 if slot.init == "empty" else 1, limit // 2, limit)
    if schedule.tokens in inputs and isinstance(dim := inputs[schedule.tokens].shape[-1], str):
        ranges[dim] = Range(1, (limit + 1) // 2, limit + 1)
    return ranges


def size_problems(subject: str, signature: Signature, ranges: Mapping[str, Range]) -> list[Problem]:
    """A problem for every symbol of an engine's inputs that has no range."""
    missing: dict[str, str] = {}
    for spec in signature.inputs:
        for dim in spec.shape:
            if _range(dim, ranges) is None:
                missing.setdefault(str(dim), spec.name)
    return [
        Problem(
            "target",
            subject,
            f"has no sizes for {symbol} of input {name!r}, and is built for a range of them",
            f"give {', '.join(FLAGS)} for the inputs of the model",
        )
        for symbol, name in missing.items()
    ]


def profile_of(signature: Signature, ranges: Mapping[str, Range]) -> Profile:
    """The profile of one engine, of its inputs that have symbols, all of which have a range."""
    profile = {}
    for spec in signature.inputs:
        if any(isinstance(dim, str) for dim in spec.shape):
            found = [known for dim in spec.shape if (known := _range(dim, ranges)) is not None]
            profile[spec.name] = Sizes(
                least=tuple(each.least for each in found),
                usual=tuple(each.usual for each in found),
                most=tuple(each.most for each in found),
            )
    return profile


def _range(dim: Dim, ranges: Mapping[str, Range]) -> Range | None:
    if isinstance(dim, int):
        return Range(dim, dim, dim)
    if dim in ranges:
        return ranges[dim]
    found = _SUM.fullmatch(dim)
    return ranges[found["symbol"]].plus(int(found["count"])) if found and found["symbol"] in ranges else None
