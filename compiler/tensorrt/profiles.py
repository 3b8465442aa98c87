"""Optimization profiles: the smallest, usual and largest sizes that an engine is built for.

The user gives sizes of the source model's inputs. What a symbol ranges over there holds for every engine that has it.
How much of a cache is filled, or how many tokens there are so far, follows from the number of tokens to generate.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from artifacts.errors import Problem, TargetError, UsageError
from artifacts.schedule import Decode, Schedule
from artifacts.spec import Dim, Signature
from compiler.shapes import ShapeRanges

FLAGS = ("--min-shapes", "--opt-shapes", "--max-shapes")


@dataclass(frozen=True)
class Range:
    """Sizes of one symbol, least <= usual <= most."""

    least: int
    usual: int
    most: int

    def plus(self, count: int) -> Range:
        """The same of sizes that are larger by a number."""
        return Range(self.least + count, self.usual + count, self.most + count)


Profile = Mapping[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]
"""Smallest, usual and largest shape by input."""

_SUM = re.compile(r"(?P<symbol>.+) \+ (?P<count>\d+)")


def given_ranges(signature: Signature, shapes: ShapeRanges) -> dict[str, Range]:
    """What the symbols of a source model range over, from shapes of its inputs.

    A shape that is not given is the usual one, or the one that is nearest to it. Raises UsageError with every symbol
    whose sizes contradict each other.
    """
    found: dict[str, list[int | None]] = {}
    problems: list[Problem] = []
    for number, (flag, given) in enumerate(zip(FLAGS, (shapes.min, shapes.opt, shapes.max), strict=True)):
        for name, sizes in given:
            for dim, size in zip(signature.input(name).shape, sizes, strict=True):
                if not isinstance(dim, str):
                    continue
                known = found.setdefault(dim, [None, None, None])
                if known[number] not in (None, size):
                    message = f"gives {dim} the sizes {known[number]} and {size}"
                    problems.append(Problem("options", flag, message, "one symbol has one size in all inputs"))
                known[number] = size
    ranges = {symbol: _filled(*sizes) for symbol, sizes in found.items()}
    problems += [
        Problem(
            "options",
            ", ".join(FLAGS),
            f"{symbol} is at least {r.least}, usually {r.usual} and at most {r.most}",
            "give sizes that grow from one flag to the next",
        )
        for symbol, r in ranges.items()
        if not r.least <= r.usual <= r.most
    ]
    UsageError.raise_if(problems)
    return ranges


def _filled(least: int | None, usual: int | None, most: int | None) -> Range:
    known = [size for size in (least, usual, most) if size is not None]
    usual = usual if usual is not None else most if most is not None else known[0]
    return Range(usual if least is None else least, usual, usual if most is None else most)


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


def profile_of(subject: str, signature: Signature, ranges: Mapping[str, Range]) -> Profile:
    """The profile of one engine, of its inputs that have symbols. Raises TargetError with every symbol of no range."""
    missing: dict[str, str] = {}
    profile = {}
    for spec in signature.inputs:
        found = [_range(dim, ranges) for dim in spec.shape]
        for dim, known in zip(spec.shape, found, strict=True):
            if known is None:
                missing.setdefault(str(dim), spec.name)
        known_all = [each for each in found if each is not None]
        if len(known_all) == len(found) and any(isinstance(dim, str) for dim in spec.shape):
            profile[spec.name] = (
                tuple(each.least for each in known_all),
                tuple(each.usual for each in known_all),
                tuple(each.most for each in known_all),
            )
    TargetError.raise_if(
        Problem(
            "target",
            f"engine {subject}",
            f"has no sizes for {symbol} of input {name!r}, and is built for a range of them",
            f"give {', '.join(FLAGS)} for the inputs of the model",
        )
        for symbol, name in missing.items()
    )
    return profile


def _range(dim: Dim, ranges: Mapping[str, Range]) -> Range | None:
    if isinstance(dim, int):
        return Range(dim, dim, dim)
    if dim in ranges:
        return ranges[dim]
    found = _SUM.fullmatch(dim)
    return ranges[found["symbol"]].plus(int(found["count"])) if found and found["symbol"] in ranges else None
