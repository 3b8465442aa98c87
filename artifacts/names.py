"""Strings that a bundle accepts: names, paths inside its folder, digests.

All three are closed alphabets. A path of this form cannot leave the folder that it is joined to, on any
operating system: no segment starts with a dot, and there is no backslash, colon or empty segment.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

NAME_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.+-]*$"
ENGINE_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.+-]*(@[A-Za-z0-9_.+-]+)?$"
PATH_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.+@-]*(/[A-Za-z0-9_][A-Za-z0-9_.+@-]*)*$"
SHA256_PATTERN = r"^[0-9a-f]{64}$"

Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=200)]
"""Name of a model or function; it may become a file name."""

EngineName = Annotated[str, Field(pattern=ENGINE_PATTERN, max_length=200)]
"""Name of an engine: what a name may be, or a model's with the sizes that it is for, and what it is of the model:
`bert@1x64`, `toy@4x64.encoder`. No model's name has an @, so that no two engines have the same."""

RelativePath = Annotated[str, Field(pattern=PATH_PATTERN, max_length=1000)]
"""POSIX path of a file, relative to the bundle's folder."""

Sha256 = Annotated[str, Field(pattern=SHA256_PATTERN)]
"""SHA-256 digest, lower-case hexadecimal."""


def free_name(name: str, taken: set[str]) -> str:
    """The name, or the first numbered one that is not taken; it is taken from then on."""
    found, number = name, 1
    while found in taken:
        found, number = f"{name}_{number}", number + 1
    taken.add(found)
    return found
