from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.errors import StoreError, UsageError
from compiler.zoo.ledger import VERSION, Attempt, Kept, Ledger, Result, State

KEPT = Kept("key", {"options": {"é": [1, None]}}, {"m": {"decoder": ["w.data"]}}, {"manifest.json": [1, 2**62, 3]})


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "zoo.sqlite", create=True) as found:
        yield found


def begin(ledger: Ledger) -> int:
    return ledger.begin("2026-01-01T00:00:00+00:00", "0.1", "local", 2)


def result(job: str, state: State = State.BUILT, **more: Any) -> Result:
    fields: dict[str, Any] = {"why": "there is no bundle yet", **more}
    return Result(job, job.partition("/")[0], "onnxruntime", "fp32", None, (), state, **fields)


def written(ledger: Ledger, build: int) -> None:
    """Something is written, in whatever transaction there is."""
    ledger.database.execute("UPDATE builds SET status = 'ended' WHERE id = ?", (build,))


TEXT = st.text(st.characters(codec="utf-8"), max_size=5)
TEXTS = st.lists(TEXT, max_size=2).map(tuple)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=5,
)
RESULTS = st.builds(
    Result,
    job=TEXT,
    entry=TEXT,
    target=TEXT,
    precision=TEXT,
    batch=st.none() | st.integers(1, 2**40),
    labels=TEXTS,
    state=st.sampled_from(State),
    why=TEXT,
    key=st.none() | TEXT,
    ingredients=st.none() | st.dictionaries(TEXT, JSON, max_size=2),
    seconds=st.floats(0, 1e9),
    peak_bytes=st.none() | st.integers(0, 2**62),
    attempts=st.lists(st.builds(Attempt, TEXT, st.floats(0, 1e9)), max_size=2).map(tuple),
    problems=st.lists(st.dictionaries(TEXT, TEXT, max_size=2), max_size=2).map(tuple),
    notices=TEXTS,
    node=TEXT,
)


@settings(max_examples=40)  # each makes a file
@given(st.lists(RESULTS, unique_by=lambda found: found.job, max_size=3), st.dictionaries(TEXT, st.floats(0, 1e30)))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, results: list[Result], metrics: dict[str, float]
) -> None:
    path = tmp_path_factory.mktemp("ledger") / "zoo.sqlite"
    with Ledger.open(path, create=True) as ledger:
        build = begin(ledger)
        for found in results:
            ledger.record(build, found, metrics, KEPT)
    with Ledger.open(path) as ledger:
        assert ledger.results(build) == sorted(results, key=lambda found: found.job.encode())
        assert ledger.figures([found.job for found in results], build) == {found.job: metrics for found in results}
        assert ledger.kept() == {found.job: KEPT for found in results}
        assert [ledger.history(found.job) for found in results] == [[(build, found)] for found in results]


def test_builds_begin_and_end(ledger: Ledger) -> None:
    first = begin(ledger)
    ledger.end(first, "ended", 1.5)
    second = begin(ledger)
    newest, oldest = ledger.builds()
    assert (newest.id, newest.status, newest.seconds, newest.workers) == (second, "running", None, 2)
    assert (oldest.id, oldest.status, oldest.seconds, oldest.engine) == (first, "ended", 1.5, "local")


def test_a_build_that_did_not_end_was_killed_when_the_next_begins(ledger: Ledger) -> None:
    ledger.end(begin(ledger), "stopped", 1.0)
    begin(ledger)
    begin(ledger)
    assert [build.status for build in ledger.builds()] == ["running", "killed", "stopped"]


def test_what_goes_wrong_in_between_is_not_written(ledger: Ledger) -> None:
    build = begin(ledger)

    def interrupted() -> None:
        with ledger.together():
            written(ledger, build)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert ledger.builds()[0].status == "running"
    with pytest.raises(AttributeError):
        ledger.record_all(build, [(result("a/x"), {}, KEPT), (None, {}, None)])  # type: ignore[list-item]  # a fault
    assert (ledger.results(build), ledger.kept()) == ([], {})
    with ledger.together():
        written(ledger, build)
    assert ledger.builds()[0].status == "ended"


def test_a_ledger_that_cannot_be_written_is_one_error(ledger: Ledger) -> None:
    build = begin(ledger)
    with Ledger.open(ledger.path) as other:
        other.database.execute("PRAGMA busy_timeout = 0")
        with ledger.together(), pytest.raises(StoreError, match="cannot be written: database is locked"):
            other.end(build, "ended", 1.0)
    assert ledger.builds()[0].status == "running"


def test_a_job_is_recorded_once_a_build_and_kept_by_the_last_that_made_it(ledger: Ledger) -> None:
    first, second = begin(ledger), begin(ledger)
    ledger.record(first, result("a/x", seconds=2.0), {"bytes": 1}, KEPT)
    ledger.record(first, result("a/x", seconds=3.0), {"bytes": 2}, None)
    other = Kept("other", {}, {}, {})
    ledger.record_all(second, [(result("a/x", State.UP_TO_DATE), {}, None), (result("b/x", State.CACHED), {}, other)])
    assert [found.seconds for found in ledger.results(first)] == [3.0]
    assert ledger.figures(["a/x"], first) == {"a/x": {"bytes": 2}}
    assert ledger.kept() == {"a/x": KEPT, "b/x": other}
    assert [(build, found.state) for build, found in ledger.history("a/x")] == [
        (second, State.UP_TO_DATE),
        (first, State.BUILT),
    ]
    ledger.forget(["a/x", "never"])
    assert set(ledger.kept()) == {"b/x"}


def test_figures_are_of_the_last_build_that_made_a_job(ledger: Ledger) -> None:
    numbers = [begin(ledger) for _ in range(3)]
    ledger.record(numbers[0], result("a/x"), {"bytes": 1, "seconds": 5}, KEPT)
    ledger.record(numbers[1], result("a/x", State.UP_TO_DATE), {}, None)
    ledger.record(numbers[2], result("a/x"), {"bytes": 3}, KEPT)
    found = [ledger.figures(["a/x", "b/x"], number) for number in numbers]
    before, after = {"a/x": {"bytes": 1, "seconds": 5}, "b/x": {}}, {"a/x": {"bytes": 3}, "b/x": {}}
    assert found == [before, before, after]


def test_times_are_of_jobs_that_were_built(ledger: Ledger) -> None:
    first, second, third = (begin(ledger) for _ in range(3))
    ledger.record(first, result("a/x", seconds=9.0), {}, None)
    ledger.record(second, result("a/x", seconds=4.0), {}, None)
    ledger.record(third, result("a/x", State.UP_TO_DATE, seconds=0.1), {}, None)
    ledger.record(third, result("b/x", State.FAILED, seconds=1.0), {}, None)
    assert ledger.times() == {"a/x": 4.0}


def test_what_was_fetched_is_remembered(ledger: Ledger) -> None:
    ledger.remember({"s3://b/a": "1", "s3://b/b": "1"})
    ledger.remember({"s3://b/a": "2"})
    assert ledger.fetched() == {"s3://b/a": "2", "s3://b/b": "1"}


# Files that are no ledger.


def refused(path: Path, *, create: bool) -> str:
    with pytest.raises(UsageError) as caught, Ledger.open(path, create=create):
        pass
    (problem,) = caught.value.problems
    assert (problem.stage, problem.subject) == ("zoo", str(path))
    assert problem.hint
    return problem.message


def test_a_ledger_that_is_not_there_is_not_made_to_be_asked(tmp_path: Path) -> None:
    assert refused(tmp_path / "zoo.sqlite", create=False) == "is not there"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("create", [False, True])
def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path: Path, create: bool) -> None:
    path = tmp_path / "zoo.sqlite"
    path.write_text("no database, but long enough to be taken for the head of one " * 10)
    before = path.read_bytes()
    assert refused(path, create=create).startswith("cannot be used: file is not a database")
    assert path.read_bytes() == before


@pytest.mark.parametrize("create", [False, True])
def test_a_ledger_of_another_version_is_left_as_it_is(tmp_path: Path, create: bool) -> None:
    path = tmp_path / "zoo.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA user_version = {VERSION + 1}")
        database.execute("CREATE TABLE builds (other TEXT)")
    assert refused(path, create=create) == f"is of version {VERSION + 1}, and not {VERSION}"
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT * FROM builds").fetchall() == []


@pytest.mark.parametrize("create", [False, True])
def test_a_folder_is_no_ledger(tmp_path: Path, create: bool) -> None:
    (tmp_path / "zoo.sqlite").mkdir()
    message = refused(tmp_path / "zoo.sqlite", create=create)
    assert message == "is not there" if not create else message.startswith("cannot be used: unable to open")


@pytest.mark.parametrize("create", [False, True])
def test_a_damaged_ledger_is_one_error(tmp_path: Path, create: bool) -> None:
    path = tmp_path / "zoo.sqlite"
    with Ledger.open(path, create=True) as ledger:
        begin(ledger)
    data = bytearray(path.read_bytes())
    data[16:24] = b"\xff" * 8
    path.write_bytes(data)
    assert refused(path, create=create).startswith("cannot be used: ")


def test_a_ledger_can_be_asked_while_a_build_writes(tmp_path: Path, ledger: Ledger) -> None:
    build = begin(ledger)
    with ledger.together(), Ledger.open(ledger.path) as other:
        written(ledger, build)
        assert other.builds()[0].status == "running"
