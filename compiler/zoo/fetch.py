"""Where the models of jobs are: on this machine, or at a URL from which they are fetched."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from compiler.options import ModelFile
from compiler.zoo.build import Place
from compiler.zoo.jobs import Job, is_url
from compiler.zoo.remote import Fetched, path_below

SOURCES = ".sources"


def path_of(root: Path, location: str) -> Path:
    """Where a location is, or will be once a build in `root` has fetched it."""
    return path_below(root / SOURCES, location) if is_url(location) else Path(location)


@dataclass(eq=False)
class Fetcher:
    """Finds models for the builds of one place; what is fetched is on record there at once."""

    place: Place
    fetched: Fetched = field(init=False)

    def __post_init__(self) -> None:
        self.fetched = Fetched(self.place.root / SOURCES, self.place.ledger.fetched())

    def located(self, job: Job) -> tuple[ModelFile, ...]:
        """See `plan.Located`."""
        try:
            return tuple(source.at({where: self._path(where) for where in source.locations}) for source in job.sources)
        finally:
            if self.fetched.new:
                self.place.ledger.remember(self.fetched.new)
                self.fetched.known, self.fetched.new = {**self.fetched.known, **self.fetched.new}, {}

    def _path(self, location: str) -> Path:
        return self.fetched.model(location) if is_url(location) else Path(location)
