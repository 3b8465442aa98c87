"""A job is one bundle: models, what they are compiled for, and how. The matrix of an entry is one job a cell."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from artifacts.errors import UsageError
from compiler.flags.compiling import CompileFlags
from compiler.options import FurtherParts, ModelFile
from compiler.parts.folder import Role, model_at

GIB = 1 << 30
DAY = 86_400.0


def is_url(location: str) -> bool:
    """Whether a location is fsspec's business; `file://` is a path like any other."""
    return "://" in location and not location.startswith("file://")


@dataclass(frozen=True)
class SourceModel:
    """A model as the zoo names it: where its file or folder is, or its parts are, each a path or a URL."""

    name: str
    location: str = ""
    parts: tuple[tuple[Role, str], ...] = ()

    @property
    def locations(self) -> tuple[str, ...]:
        """Every location that is named."""
        return tuple(location for _, location in self.parts) if self.parts else (self.location,)

    @property
    def is_remote(self) -> bool:
        """Whether something has to be fetched before it can be read."""
        return any(map(is_url, self.locations))

    def at(self, paths: Mapping[str, Path]) -> ModelFile:
        """The model, by where each of its locations is on this machine. Raises UsageError for an unfit folder."""
        if not self.parts:
            return model_at(self.name, paths[self.location])
        found = {role: paths[location] for role, location in self.parts}
        further = FurtherParts(found[Role.ENCODER], found.get(Role.DECODER_WITH_PAST))
        return ModelFile(self.name, found[Role.DECODER], further)


@dataclass(frozen=True)
class JobLimits:
    """What a job may take: bytes of memory that are no file's, seconds, and how often it is tried again.

    `memory` None leaves it to the build, which divides what the machine has.
    """

    memory: int | None = None
    seconds: float = DAY / 12
    retries: int = 1


@dataclass(frozen=True)
class Needs:
    """What a job takes of a cluster's node, by the names that Ray has for it."""

    cpus: float = 1.0
    gpus: float = 0.0
    custom: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Job:
    """One bundle of a zoo. `place` is where the zoo's file says it, `FILE:LINE:COLUMN`."""

    entry: str
    target: str
    precision: str
    batch: int | None
    sources: tuple[SourceModel, ...]
    flags: CompileFlags
    labels: tuple[str, ...] = ()
    limits: JobLimits = JobLimits()
    needs: Needs = Needs()
    place: str = field(default="", compare=False)

    @property
    def name(self) -> str:
        """What people and folders call it: `ENTRY/TARGET-PRECISION`, and with batches `-bN`."""
        batch = "" if self.batch is None else f"-b{self.batch}"
        return f"{self.entry}/{self.target}-{self.precision}{batch}"

    @property
    def family(self) -> tuple[object, ...]:
        """Jobs with one family read the same models: what they have in common is done once, in one process."""
        return (self.sources, self.needs)


_VARIABLE = re.compile(r"\{(name|target|precision|batch)\}")


def variables(text: str) -> set[str]:
    """The variables that a text of the zoo's file has, as {batch}."""
    return set(_VARIABLE.findall(text))


def filled(text: str, values: Mapping[str, str]) -> str:
    """The text with its variables' values. Raises UsageError for a batch where the job has none."""

    def value(found: re.Match[str]) -> str:
        if found[1] not in values:
            raise UsageError.of("zoo", text, "has a {batch}, and there are no batches", "give batches: [1, 8]")
        return values[found[1]]

    return _VARIABLE.sub(value, text)
