"""Shapes on the command line: `ids:1x16,mask:1x16`, trtexec's and polygraphy's way to write them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from artifacts.errors import Problem, UsageError
from artifacts.spec import Signature

Shapes = tuple[tuple[str, tuple[int, ...]], ...]
"""Sizes by input name, as pairs: an option that can be hashed and compared. () says nothing of any input."""


@dataclass(frozen=True)
class ShapeRanges:
    """Sizes of inputs that the user gave: smallest, usual, largest. Any may be empty."""

    min: Shapes = ()
    opt: Shapes = ()
    max: Shapes = ()


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


def check_shapes(shapes: Shapes, signature: Signature, flag: str) -> None:
    """Raise UsageError with every shape that does not fit the model's signature."""
    UsageError.raise_if(problem for name, sizes in shapes for problem in _problems(name, sizes, signature, flag))


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
