"""The folder of a tuning: what is to be tried, and what came of each trial, a file each.

A file appears whole or not at all, so that whatever ends a run, the next one goes on with what is missing. What was
tried on several machines comes together by copying the files into one folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, ValidationError

from artifacts.canonical import canonical_json, sha256_bytes
from artifacts.draft_file import draft_file
from artifacts.errors import BundleError, Problem
from artifacts.manifest import Manifest
from artifacts.names import EngineName, Sha256
from artifacts.neuron_options import NeuronOptions
from artifacts.noun import Noun, fault_problems

SCHEDULE_FILE = "schedule.json"
OUTCOMES_FOLDER = "outcomes"
_STAGE = "tune"

End = Literal["compiled", "failed", "crashed", "killed", "timeout", "no-neff"]
"""How a trial ended: with a NEFF that reads back whole, with an error, by a signal, for want of memory most likely, for
want of time, or with a status of success and no such NEFF."""

N = TypeVar("N", bound=Noun)
Seconds = Annotated[float, Field(ge=0)]


class Schedule(Noun):
    """What is to be tried: every set of flags, on every source of a bundle's engines, by the digest of that."""

    engines: Annotated[dict[EngineName, Sha256], Field(min_length=1)]
    sets: Annotated[tuple[NeuronOptions, ...], Field(min_length=1)]


class Attempt(Noun):
    """What decides how a trial ends, as far as that is known: its source, the whole command, and whose it is.

    `command` is that of neuronx-cc on a file `model.hlo.pb`, `environment` what NEURON_CC_FLAGS were.
    """

    source: Sha256
    command: str
    compiler: str
    environment: str

    @property
    def key(self) -> str:
        """SHA-256 of it, in hexadecimal."""
        return sha256_bytes(canonical_json(self.model_dump(mode="json")))


class Outcome(Noun):
    """How a trial ended, after how many seconds of `limit`.

    `neff_bytes` is the size of the NEFF, `code` that of the compiler's error if it gave one, `words` what it said of
    it. `latency_ms` is what the NEFF takes to run on a device. Nothing here can run one, so that it is null; whoever
    measures it elsewhere may write it into the file.
    """

    attempt: Attempt
    engine: EngineName
    end: End
    seconds: Seconds
    limit: Seconds
    neff_bytes: Annotated[int, Field(ge=0)] | None = None
    code: str = ""
    words: str = ""
    latency_ms: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


@dataclass(frozen=True)
class Work:
    """A folder of a tuning."""

    root: Path

    def schedule(self) -> Schedule | None:
        """What is to be tried, None if nothing was written yet. Raises BundleError if that cannot be read."""
        path = self.root / SCHEDULE_FILE
        return _read(path, Schedule) if path.exists() else None

    def write(self, schedule: Schedule) -> None:
        """Say what is to be tried from now on; outcomes stay. Raises BundleError if it cannot be written."""
        self._put(self.root / SCHEDULE_FILE, schedule)

    def outcome(self, attempt: Attempt) -> Outcome | None:
        """What came of it, None if it was not tried yet. Raises BundleError if that cannot be read."""
        path = self._path(attempt)
        if not path.exists():
            return None
        found = _read(path, Outcome)
        if found.attempt != attempt:
            raise BundleError.of(_STAGE, str(path), "is about another trial than its name says", "remove it")
        return found

    def record(self, outcome: Outcome) -> None:
        """Keep what came of a trial, on the disk before this returns. Raises BundleError if that cannot be."""
        self._put(self._path(outcome.attempt), outcome)

    def _path(self, attempt: Attempt) -> Path:
        return self.root / OUTCOMES_FOLDER / f"{attempt.key}.json"

    def _put(self, path: Path, noun: Noun) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BundleError.of(_STAGE, str(path.parent), f"cannot be made: {error.strerror}") from error
        with draft_file(path, _STAGE, force=True) as file:
            file.write(noun.model_dump_json(indent=2).encode() + b"\n")


def sources_of(manifest: Manifest) -> dict[str, str]:
    """The digest of each source that neuronx-cc takes, by engine."""
    return {
        name: manifest.files[engine.source].sha256
        for name, engine in manifest.engines.items()
        if isinstance(engine.build, NeuronOptions)
    }


def _read(path: Path, noun: type[N]) -> N:
    try:
        return noun.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BundleError.of(_STAGE, str(path), f"cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise BundleError(
            *(
                Problem(problem.stage, f"{path}: {problem.subject}", problem.message, "remove the file")
                for problem in fault_problems(_STAGE, "document", error)
            )
        ) from error
