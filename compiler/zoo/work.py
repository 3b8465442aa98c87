"""What a build hands to a pool of workers, and what it hears from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from compiler.options import CompileOptions, ModelFile
from compiler.zoo.jobs import JobLimits, Needs


@dataclass(frozen=True)
class Work:
    """One job as a worker gets it: models on its machine, and where the bundle goes.

    `seconds` is how long a vendor's compiler may take for an engine; None leaves it to the target.
    """

    job: str
    models: tuple[ModelFile, ...]
    options: CompileOptions
    destination: Path
    store: str
    log: Path
    limits: JobLimits
    seconds: float | None = None


@dataclass(frozen=True)
class Family:
    """Jobs that read the same models, in one process: what they have in common is done once.

    `estimate` is how many seconds they take, as far as earlier builds tell, or 0; `bytes` the size of their models.
    """

    works: tuple[Work, ...]
    needs: Needs = field(default_factory=Needs)
    estimate: float = 0.0
    bytes: int = 0

    def without(self, done: int) -> Family:
        """Those that are left when so many are done."""
        return Family(self.works[done:], self.needs, self.estimate, self.bytes)


class Ending(StrEnum):
    """How a job ended."""

    MADE = "made"
    CACHED = "cached"
    FAILED = "failed"
    """The model, or what was asked of it, is at fault: trying again would end the same way."""
    CRASHED = "crashed"
    OVER_MEMORY = "over memory"
    OVER_TIME = "over time"
    LOST = "lost"
    """Its machine is gone."""
    STOPPED = "stopped"
    """The build was ended."""

    @property
    def may_pass(self) -> bool:
        """Whether another try may end otherwise."""
        return self in {Ending.CRASHED, Ending.LOST}

    @property
    def is_good(self) -> bool:
        """Whether there is a bundle now."""
        return self in {Ending.MADE, Ending.CACHED}


@dataclass(frozen=True)
class Made:
    """What is known of a bundle that is in its place now; `external` are its models' external files, by role."""

    key: str
    ingredients: Mapping[str, Any]
    external: Mapping[str, Any]
    metrics: Mapping[str, float]
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Began:
    """A worker turned to a job."""

    job: str
    where: str = ""


@dataclass(frozen=True)
class Staged:
    """What a worker is at."""

    job: str
    stage: str


@dataclass(frozen=True)
class Ended:
    """A job ended. `problems` are an error's, `peak_bytes` the most memory that was no file's."""

    job: str
    ending: Ending
    seconds: float
    reason: str = ""
    problems: tuple[Mapping[str, str], ...] = ()
    peak_bytes: int | None = None
    made: Made | None = None


@dataclass(frozen=True)
class Broke:
    """A worker is gone, and these jobs of its family were not begun."""

    family: Family


Event = Began | Staged | Ended | Broke


class Pool(Protocol):
    """Workers on this machine, or on several."""

    name: str

    def takes(self, family: Family) -> bool:
        """Whether a worker is free for a family."""

    def start(self, family: Family) -> None:
        """Have a worker begin a family."""

    def events(self) -> Sequence[Event]:
        """What happened since it was asked last; waits for something, but not for long."""

    @property
    def busy(self) -> bool:
        """Whether anything was started that did not end."""

    def stop(self) -> Sequence[Event]:
        """End everything at once; what was running ends as `STOPPED`."""


@dataclass(eq=False)
class Queue:
    """Families to be done: the longest first, those without an estimate before them by the size of their models."""

    families: list[Family] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.families.sort(key=lambda each: (each.estimate > 0, -each.estimate, -each.bytes))

    def __bool__(self) -> bool:
        return bool(self.families)

    def take(self, pool: Pool) -> Iterator[Family]:
        """Take out what the pool has room for now."""
        left = []
        for family in self.families:
            if pool.takes(family):
                pool.start(family)
                yield family
            else:
                left.append(family)
        self.families[:] = left

    def again(self, family: Family) -> None:
        """A family that comes next."""
        self.families.insert(0, family)
