"""Shapes on the command line: `ids:1x16,mask:1x16`, trtexec's and polygraphy's way to write them.

Each set of smallest, usual and largest shapes is a range of sizes; several sets are several ranges.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from artifacts.errors import Problem, UsageError
from artifacts.spec import Signature

Shapes = tuple[tuple[str, tuple[int, ...]], ...]
"""Sizes by input name, as pairs: an option that can be hashed and compared. () says nothing of any input."""


FLAGS = ("--min-shapes", "--opt-shapes", "--max-shapes")


@dataclass(frozen=True)
class ShapeRanges:
    """Sizes of inputs that the user gave: smallest, usual, largest. Any may be empty."""

    min: Shapes = ()
    opt: Shapes = ()
    max: Shapes = ()

    @property
    def filled(self) -> ShapeRanges:
        """The same with all three shapes of each input of which one is given: see `symbol_ranges`."""
        least, usual, most = dict(self.min), dict(self.opt), dict(self.max)
        usual = {**least, **most, **usual}
        return ShapeRanges(*(tuple({**usual, **given}.items()) for given in (least, usual, most)))

    def check(self, signature: Signature) -> None:
        """Raise UsageError with every shape that does not fit a model's signature, or else contradicts another."""
        given = tuple(zip(FLAGS, (self.min, self.opt, self.max), strict=True))
        UsageError.raise_if(
            problem
            for flag, shapes in given
            for name, sizes in shapes
            for problem in _problems(name, sizes, signature, flag)
        )
        symbol_ranges(signature, self)


@dataclass(frozen=True)
class Range:
    """Sizes of one symbol, least <= usual <= most."""

    least: int
    usual: int
    most: int

    def plus(self, count: int) -> Range:
        """The same of sizes that are larger by a number."""
        return Range(self.least + count, self.usual + count, self.most + count)


def symbol_ranges(signature: Signature, shapes: ShapeRanges) -> dict[str, Range]:
    """What the symbols of a model range over, from shapes of its inputs.

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


# A name may hold anything but a comma; the last colon ends it ("gpu_0/data:0:1x3x224x224").
_ENTRY = re.compile(
    r"\s*(?P<name>[^,]+?)\s*:\s*(?:\[(?P<list>[\d,\s]*)\]|(?P<cross>\d+(?:x\d+)*)|(?P<scalar>scalar))\s*(?:,|$)"
)


def parse_shapes(text: str, flag: str) -> Shapes:
    """Sizes by input name from `a:1x16,b:[1,16],c:scalar`. Raises UsageError where the text is none of these."""
    shapes: dict[str, tuple[int, ...]] = {}
    position = 0
    while position < len(text):
        found = _ENTRY.match(text, position)
        if found is None:
            raise UsageError.of(
                "options", flag, f"cannot read {text[position:]!r}", "write ids:1x16,mask:1x16 or ids:[1,16]"
            )
        if found["name"] in shapes:
            raise UsageError.of("options", flag, f"gives input {found['name']!r} twice")
        digits = re.findall(r"\d+", found["list"] or found["cross"] or "")
        shapes[found["name"]] = tuple(int(size) for size in digits)
        position = found.end()
    return tuple(shapes.items())


def paired(least: Sequence[Shapes], usual: Sequence[Shapes], most: Sequence[Shapes]) -> tuple[ShapeRanges, ...]:
    """The ranges that flags give which may be repeated: one given once holds for all that the others give.

    Raises UsageError if two of them are given several times and not equally often.
    """
    counts = {flag: len(given) for flag, given in zip(FLAGS, (least, usual, most), strict=True)}
    most_often = max(counts.values())
    UsageError.raise_if(
        Problem(
            "options",
            flag,
            f"is given {count} times, and another of {', '.join(FLAGS)} {most_often} times",
            "give each once for every range of sizes, or once for all of them",
        )
        for flag, count in counts.items()
        if count not in (0, 1, most_often)
    )
    filled = [
        [given[min(n, len(given) - 1)] if given else () for n in range(most_often)] for given in (least, usual, most)
    ]
    return tuple(ShapeRanges(*shapes) for shapes in zip(*filled, strict=True))


def _problems(name: str, sizes: tuple[int, ...], signature: Signature, flag: str) -> list[Problem]:
    names = [spec.name for spec in signature.inputs]
    if name not in names:
        return [Problem("options", flag, f"the model has no input {name!r}", f"its inputs are {', '.join(names)}")]
    spec = signature.input(name)
    fits = len(sizes) == spec.rank and all(
        isinstance(declared, str) or declared == size for declared, size in zip(spec.shape, sizes, strict=True)
    )
    given = "x".join(map(str, sizes))
    return [] if fits else [Problem("options", flag, f"shape {given} does not fit {spec}")]
