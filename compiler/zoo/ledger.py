"""What builds did: one SQLite file beside the store, `zoo.sqlite`, that anyone may query.

One process writes, which holds the build's lock; each job is written when it ends, so that a build that is killed has
lost none that was finished.

    builds    one row a build: when, how, how it ended
    results   one row a job of a build: what became of it and why
    metrics   figures of a result: bytes, seconds of stages, differences from the source, operators
    bundles   what is in its place now, and what it was made of
    files     digests by path, size, time and inode: a file that did not change is not read again
    fetched   what was fetched from URLs, and what its server said of it
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from artifacts.errors import StoreError, UsageError
from compiler.zoo.yaml_file import STAGE

LEDGER = "zoo.sqlite"
VERSION = 1

_SCHEMA = """
CREATE TABLE builds (
    id INTEGER PRIMARY KEY,
    started TEXT NOT NULL,
    seconds REAL,
    status TEXT NOT NULL,
    unspool TEXT NOT NULL,
    engine TEXT NOT NULL,
    workers INTEGER NOT NULL
);
CREATE TABLE results (
    build INTEGER NOT NULL REFERENCES builds,
    job TEXT NOT NULL,
    entry TEXT NOT NULL,
    target TEXT NOT NULL,
    precision TEXT NOT NULL,
    batch INTEGER,
    labels TEXT NOT NULL,
    state TEXT NOT NULL,
    why TEXT NOT NULL,
    key TEXT,
    ingredients TEXT,
    seconds REAL NOT NULL,
    peak_bytes INTEGER,
    attempts TEXT NOT NULL,
    problems TEXT NOT NULL,
    notices TEXT NOT NULL,
    node TEXT NOT NULL,
    PRIMARY KEY (build, job)
) WITHOUT ROWID;
CREATE INDEX results_by_job ON results (job, build);
CREATE TABLE metrics (
    build INTEGER NOT NULL,
    job TEXT NOT NULL,
    name TEXT NOT NULL,
    value REAL,
    PRIMARY KEY (build, job, name)
) WITHOUT ROWID;
CREATE TABLE bundles (
    job TEXT PRIMARY KEY,
    build INTEGER NOT NULL,
    key TEXT NOT NULL,
    ingredients TEXT NOT NULL,
    external TEXT NOT NULL,
    files TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE files (
    path TEXT PRIMARY KEY,
    bytes INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    sha256 TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE fetched (
    url TEXT PRIMARY KEY,
    mark TEXT NOT NULL
) WITHOUT ROWID;
"""


class State(StrEnum):
    """What became of a job in a build."""

    UP_TO_DATE = "up-to-date"
    CACHED = "cached"
    BUILT = "built"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Attempt:
    """One try at a job that did not end well: `reason` in one line, and how long it took."""

    reason: str
    seconds: float


@dataclass(frozen=True)
class Result:
    """What became of a job in a build, and why it was built. `problems` are those of the last attempt.

    `node` is where a cluster built it.
    """

    job: str
    entry: str
    target: str
    precision: str
    batch: int | None
    labels: tuple[str, ...]
    state: State
    why: str
    key: str | None = None
    ingredients: Mapping[str, Any] | None = None
    seconds: float = 0.0
    peak_bytes: int | None = None
    attempts: tuple[Attempt, ...] = ()
    problems: tuple[Mapping[str, str], ...] = ()
    notices: tuple[str, ...] = ()
    node: str = ""

    @property
    def is_good(self) -> bool:
        """Whether the job has its bundle."""
        return self.state in {State.UP_TO_DATE, State.CACHED, State.BUILT}


@dataclass(frozen=True)
class Kept:
    """A bundle that is in its place: its key, what went into it, its models' external files, and its files' marks."""

    key: str
    ingredients: Mapping[str, Any]
    external: Mapping[str, Any]
    files: Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Build:
    """One build."""

    id: int
    started: str
    seconds: float | None
    status: str
    unspool: str
    engine: str
    workers: int


@dataclass(frozen=True)
class Ledger:
    """The file, opened."""

    path: Path
    database: sqlite3.Connection

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: Path, *, create: bool = False) -> Iterator[Ledger]:
        """Open the ledger; with `create` one is made if it is not there.

        Raises UsageError if it is not there, is no ledger, or is one of another version.
        """
        if not create and not path.is_file():
            raise UsageError.of(
                STAGE, str(path), "is not there", "`unspool zoo build` makes it; name its folder with -o"
            )
        with _usable(path):
            opened = sqlite3.connect(path, timeout=10.0, isolation_level=None)
        with contextlib.closing(opened) as database:
            with _usable(path):
                version = database.execute("PRAGMA user_version").fetchone()[0]
                if create:
                    database.execute("PRAGMA journal_mode = WAL")
                    database.execute("PRAGMA synchronous = NORMAL")
                    if version == 0:
                        database.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
                        version = VERSION
            if version != VERSION:
                hint = "move it away, or use the version of Unspool that wrote it"
                raise UsageError.of(STAGE, str(path), f"is of version {version}, and not {VERSION}", hint)
            yield cls(path, database)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """What is written in the block is written at once or not at all. Raises StoreError, for a full disk say."""
        try:
            self.database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # a full disk has rolled back already
                    self.database.execute("ROLLBACK")
                raise
            self.database.execute("COMMIT")
        except sqlite3.Error as error:
            hint = "free some space on that file system; is it writable?"
            raise StoreError.of(STAGE, str(self.path), f"cannot be written: {error}", hint) from error

    def begin(self, started: str, unspool: str, engine: str, workers: int) -> int:
        """A new build, which is running; those that were running have been killed. Returns its number."""
        with self.together():
            self.database.execute("UPDATE builds SET status = 'killed' WHERE status = 'running'")
            cursor = self.database.execute(
                "INSERT INTO builds (started, status, unspool, engine, workers) VALUES (?, 'running', ?, ?, ?)",
                (started, unspool, engine, workers),
            )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def end(self, build: int, status: str, seconds: float) -> None:
        """The build has ended."""
        with self.together():
            self.database.execute("UPDATE builds SET status = ?, seconds = ? WHERE id = ?", (status, seconds, build))

    def record(self, build: int, result: Result, metrics: Mapping[str, float], kept: Kept | None) -> None:
        """What became of a job, with its figures, and the bundle that is in its place if there is one now."""
        with self.together():
            self._record(build, result, metrics, kept)

    def record_all(self, build: int, results: Sequence[tuple[Result, Mapping[str, float], Kept | None]]) -> None:
        """The same of many jobs that took no work."""
        with self.together():
            for result, metrics, kept in results:
                self._record(build, result, metrics, kept)

    def _record(self, build: int, result: Result, metrics: Mapping[str, float], kept: Kept | None) -> None:
        self.database.execute(
            "INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                build,
                result.job,
                result.entry,
                result.target,
                result.precision,
                result.batch,
                _text(list(result.labels)),
                result.state.value,
                result.why,
                result.key,
                None if result.ingredients is None else _text(result.ingredients),
                result.seconds,
                result.peak_bytes,
                _text([vars(each) for each in result.attempts]),
                _text(list(result.problems)),
                _text(list(result.notices)),
                result.node,
            ),
        )
        self.database.executemany(
            "INSERT OR REPLACE INTO metrics VALUES (?, ?, ?, ?)",
            [(build, result.job, name, value) for name, value in metrics.items()],
        )
        if kept is not None:
            self.database.execute(
                "INSERT OR REPLACE INTO bundles VALUES (?, ?, ?, ?, ?, ?)",
                (result.job, build, kept.key, _text(kept.ingredients), _text(kept.external), _text(kept.files)),
            )

    def kept(self) -> dict[str, Kept]:
        """The bundles that builds left, by job."""
        rows = self.database.execute("SELECT job, key, ingredients, external, files FROM bundles")
        return {row[0]: Kept(row[1], *map(json.loads, row[2:])) for row in rows}

    def forget(self, jobs: Sequence[str]) -> None:
        """Bundles that are not there any more."""
        with self.together():
            self.database.executemany("DELETE FROM bundles WHERE job = ?", [(job,) for job in jobs])

    def fetched(self) -> dict[str, str]:
        """Marks of what was fetched, by URL."""
        return dict(self.database.execute("SELECT url, mark FROM fetched"))

    def remember(self, fetched: Mapping[str, str]) -> None:
        """Files were fetched from these URLs, with these marks."""
        with self.together():
            self.database.executemany("INSERT OR REPLACE INTO fetched VALUES (?, ?)", list(fetched.items()))

    def builds(self) -> list[Build]:
        """Every build, the newest first."""
        rows = self.database.execute(
            "SELECT id, started, seconds, status, unspool, engine, workers FROM builds ORDER BY id DESC"
        )
        return [Build(*row) for row in rows]

    def results(self, build: int) -> list[Result]:
        """The results of a build, by job."""
        return [_result(row) for row in self.database.execute(f"{_SELECT} WHERE build = ? ORDER BY job", (build,))]

    def history(self, job: str) -> list[tuple[int, Result]]:
        """The results of a job with their builds, the newest first."""
        rows = self.database.execute(f"SELECT build, {_COLUMNS} FROM results WHERE job = ? ORDER BY build DESC", (job,))
        return [(row[0], _result(row[1:])) for row in rows]

    def figures(self, jobs: Sequence[str], build: int) -> dict[str, dict[str, float]]:
        """The figures that jobs had after a build: those of the last build that made each."""
        found: dict[str, dict[str, float]] = {}
        for job in jobs:
            rows = self.database.execute(
                "SELECT name, value FROM metrics WHERE job = ?1 AND build = "
                "(SELECT max(build) FROM metrics WHERE job = ?1 AND build <= ?2)",
                (job, build),
            )
            found[job] = dict(rows)
        return found

    def times(self) -> dict[str, float]:
        """How many seconds each job took when it was built last."""
        rows = self.database.execute(
            "SELECT job, seconds, max(build) FROM results WHERE state = ? GROUP BY job", (State.BUILT.value,)
        )
        return {row[0]: row[1] for row in rows}


@contextlib.contextmanager
def _usable(path: Path) -> Iterator[None]:
    """Turn what SQLite says of a file into an error that names it."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        hint = "move it away; bundles are kept, and known again by their keys"
        raise UsageError.of(STAGE, str(path), f"cannot be used: {error}", hint) from error


_COLUMNS = (
    "job, entry, target, precision, batch, labels, state, why, key, ingredients, seconds, peak_bytes, attempts, "
    "problems, notices, node"
)
_SELECT = f"SELECT {_COLUMNS} FROM results"


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _result(row: Sequence[Any]) -> Result:
    job, entry, target, precision, batch, labels, state, why, key, ingredients, seconds, peak, *further = row
    attempts, problems, notices = map(json.loads, further[:-1])
    return Result(
        job=job,
        entry=entry,
        target=target,
        precision=precision,
        batch=batch,
        labels=tuple(json.loads(labels)),
        state=State(state),
        why=why,
        key=key,
        ingredients=None if ingredients is None else json.loads(ingredients),
        seconds=seconds,
        peak_bytes=peak,
        attempts=tuple(Attempt(**each) for each in attempts),
        problems=tuple(problems),
        notices=tuple(notices),
        node=further[-1],
    )
