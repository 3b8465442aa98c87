from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue

from artifacts.bundle_writer import write_bundle
from artifacts.canonical import canonical_json
from artifacts.errors import StoreError
from compiler.compile import Circumstances
from compiler.key import compilation_key
from compiler.options import ModelFile
from compiler.parts.reading import read_model
from compiler.zoo.file_index import FileIndex
from compiler.zoo.jobs import Job
from compiler.zoo.ledger import Attempt, Kept, Ledger, Result, State
from compiler.zoo.plan import Plan, make_plan, marks_of
from compiler.zoo.read import Zoo, read_zoo
from tests.support import bundles
from tests.support.models import perceptron, saved

JOBS = ("a/onnxruntime-fp32", "b/onnxruntime-fp32", "c/onnxruntime-fp32")


def located(job: Job) -> tuple[ModelFile, ...]:
    return tuple(source.at({where: Path(where) for where in source.locations}) for source in job.sources)


@dataclass(eq=False)
class Planning:
    """A folder with a zoo of three models and its ledger; bundles are no more than their marks."""

    folder: Path
    ledger: Ledger
    entries: dict[str, dict[str, Any]] = field(default_factory=lambda: {name: {} for name in "abc"})

    @property
    def root(self) -> Path:
        return self.folder / "out"

    def zoo(self) -> Zoo:
        models: list[JsonValue] = [
            {"name": name, "path": f"{name}.onnx", **more} for name, more in self.entries.items()
        ]
        (self.folder / "zoo.yaml").write_bytes(canonical_json({"models": models}))
        return read_zoo(self.folder / "zoo.yaml")

    def plan(self, only: Sequence[str] | None = None) -> Plan:
        zoo = self.zoo()
        jobs = [job for job in zoo.jobs if only is None or job.name in only]
        return make_plan(zoo, jobs, self.root, self.ledger, FileIndex.of(self.ledger), located)

    def due(self) -> dict[str, tuple[str, ...]]:
        """Why each job is due that is."""
        return {planned.job.name: planned.why for planned in self.plan().due}

    def made(self, job: Job) -> Kept:
        """What the ledger knows after the job was built."""
        (self.root / job.name / "engines").mkdir(parents=True, exist_ok=True)
        for name in ("manifest.json", "engines/e.onnx"):
            (self.root / job.name / name).write_text(job.name)
        models = located(job)
        read = {model.name: read_model(model) for model in models}
        about = Circumstances.of(models, job.flags.options())
        found = about.ingredients({name: model.digest for name, model in read.items()}, shared=True)
        external = {
            name: {str(role): list(names) for role, names in model.external.items()} for name, model in read.items()
        }
        files = marks_of(self.root / job.name)
        return Kept(compilation_key(found), {**found, "serving": about.serving}, external, files)

    def build(self) -> None:
        """Make everything that is due."""
        number = self.ledger.begin("", "", "", 1)
        for planned in self.plan().due:
            self.record(number, planned.job, kept=self.made(planned.job))
        self.ledger.end(number, "ended", 1.0)

    def record(
        self, number: int, job: Job, state: State = State.BUILT, *, kept: Kept | None = None, **more: Any
    ) -> None:
        result = Result(job.name, job.entry, job.target, job.precision, None, (), state, "", **more)
        self.ledger.record(number, result, {}, kept)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate("abc"):
        saved(perceptron(seed), folder / f"{name}.onnx")
    return folder


@pytest.fixture
def planning(models: Path, tmp_path: Path) -> Iterator[Planning]:
    shutil.copytree(models, tmp_path, dirs_exist_ok=True)
    with Ledger.open(tmp_path / "zoo.sqlite", create=True) as ledger:
        yield Planning(tmp_path, ledger)


@pytest.fixture
def built(planning: Planning) -> Planning:
    planning.build()
    assert planning.due() == {}
    return planning


def test_everything_is_due_where_nothing_was_built(planning: Planning) -> None:
    plan = planning.plan()
    assert planning.due() == dict.fromkeys(JOBS, ("there is no bundle yet",))
    assert [planned.models for planned in plan.jobs] == [
        (ModelFile(name, planning.folder / f"{name}.onnx"),) for name in "abc"
    ]
    assert (plan.strays, [planned.kept for planned in plan.jobs]) == ((), [None] * 3)
    assert not planning.root.exists()


def test_nothing_is_due_after_a_build(built: Planning) -> None:
    plan = built.plan()
    assert [planned.kept for planned in plan.jobs] == list(built.ledger.kept().values())
    assert all(planned.is_known for planned in plan.jobs)


def test_only_selected_jobs_are_looked_at(built: Planning) -> None:
    built.entries["b"] = {"options": {"most-buckets": 3}}
    assert [planned.job.name for planned in built.plan([JOBS[1]]).due] == [JOBS[1]]
    assert built.plan([JOBS[0]]).due == ()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"options": {"most-buckets": 3}}, "option most_buckets: 4 -> 3"),
        ({"tolerances": {"atol": 0.5}}, "option atol: nothing -> 0.5"),
        ({"options": {"max-length": 7}}, "option tokens.max_new_tokens: nothing -> 7"),
    ],
)
def test_one_option_makes_that_job_due(built: Planning, change: Mapping[str, Any], why: str) -> None:
    built.entries["b"] = dict(change)
    assert built.due() == {JOBS[1]: (why,)}
    built.entries["b"] = {}
    assert built.due() == {}


def test_what_decides_nothing_of_a_bundle_makes_nothing_due(built: Planning) -> None:
    built.entries["b"] = {"labels": ["new"], "limits": {"memory": "1GiB", "retries": 3}, "resources": {"cpus": 2}}
    assert built.due() == {}


def test_a_model_that_changed(built: Planning) -> None:
    saved(perceptron(9), built.folder / "c.onnx")
    assert built.due() == {JOBS[2]: ("model c has changed",)}
    saved(perceptron(2), built.folder / "c.onnx")
    assert built.due() == {}, "what counts is what it holds"


def test_settings_that_come_to_lie_beside_the_models(built: Planning) -> None:
    (built.folder / "generation_config.json").write_text('{"pad_token_id": 1}')
    assert built.due() == {job: (f"{job[0]}/generation_config.json beside the model has changed",) for job in JOBS}


def test_a_model_that_is_gone_is_told_of_its_job_alone(built: Planning) -> None:
    zoo = built.zoo()
    (built.folder / "a.onnx").unlink()
    plan = make_plan(zoo, zoo.jobs, built.root, built.ledger, FileIndex.of(built.ledger), located)
    assert {planned.job.name: planned.why for planned in plan.due} == {JOBS[0]: ("its models have other files now",)}


def test_models_that_cannot_be_located_are_problems_of_their_job(built: Planning) -> None:
    def refusing(job: Job) -> tuple[ModelFile, ...]:
        if job.entry == "a":
            raise StoreError.of("zoo", "s3://b/a.onnx", "cannot be fetched", "wait")
        if job.entry == "b":
            raise PermissionError(13, "Permission denied", "b.onnx")
        return located(job)

    zoo = built.zoo()
    plan = make_plan(zoo, zoo.jobs, built.root, built.ledger, FileIndex.of(built.ledger), refusing)
    one, two = plan.due
    assert one.why == two.why == ("its models cannot be read",)
    assert [problem.message for problem in one.problems] == ["cannot be fetched"]
    assert [(problem.subject, problem.message) for problem in two.problems] == [
        ("b.onnx", "cannot be read: Permission denied")
    ]
    assert all(problem.hint for planned in plan.due for problem in planned.problems)


def test_a_bundle_that_is_gone(built: Planning) -> None:
    shutil.rmtree(built.root / JOBS[1])
    assert built.due() == {JOBS[1]: ("its bundle is gone",)}


@pytest.mark.parametrize("change", ["write", "remove", "add", "touch"])
def test_a_bundle_whose_files_were_changed_by_someone_else(built: Planning, change: str) -> None:
    """These bundles are none: one that is whole, and only touched, is known again."""
    file = built.root / JOBS[0] / "engines" / "e.onnx"
    match change:
        case "write":
            file.write_text("other")
        case "remove":
            file.unlink()
        case "add":
            (file.parent / "more").touch()
        case _:
            os.utime(file, (1000, 1000))
    assert built.due() == {JOBS[0]: ("its bundle was changed by someone else",)}


def test_something_else_in_the_place_of_a_bundle(planning: Planning) -> None:
    for number, job in enumerate(JOBS):
        (planning.root / job).parent.mkdir(parents=True)
        if number == 0:
            (planning.root / job).mkdir()
        elif number == 1:
            (planning.root / job).touch()
        else:
            (planning.root / job).symlink_to("nothing")
    assert planning.due() == dict.fromkeys(JOBS, ("another bundle is in its place",))


def test_a_bundle_that_no_build_on_record_made_is_known_by_its_key(planning: Planning) -> None:
    job = planning.zoo().jobs[0]
    key = planning.made(job).key
    shutil.rmtree(planning.root / job.name)
    report = bundles.REPORT.model_copy(update={"key": key, "external": {"a": {"decoder": ()}}})
    with write_bundle(planning.root / job.name) as writer:
        writer.commit(bundles.fill(writer, {"m": bundles.linear()}), report)
    first, *_ = planning.plan().jobs
    assert (first.is_due, first.is_known) == (False, False)
    assert first.kept is not None
    assert (first.kept.key, first.kept.files) == (key, marks_of(planning.root / job.name))
    assert first.metrics["operators.MatMul"] == 1
    assert [planned.job.name for planned in planning.plan().due] == [*JOBS[1:]]

    planning.record(planning.ledger.begin("", "", "", 1), job, State.UP_TO_DATE, kept=first.kept)
    first, *_ = planning.plan().jobs
    assert (first.is_due, first.is_known) == (False, True)
    os.utime(planning.root / job.name / "manifest.json")
    first, *_ = planning.plan().jobs
    assert (first.is_due, first.is_known) == (False, False), "touched, and the same"


def test_bundles_that_no_job_makes_any_more_are_strays(built: Planning) -> None:
    del built.entries["b"]
    built.entries["d"] = {"path": "b.onnx"}
    plan = built.plan([])
    assert (plan.jobs, plan.strays) == ((), (JOBS[1],))


def test_how_long_jobs_take_is_told_by_what_they_or_others_of_their_target_took(planning: Planning) -> None:
    a, b, _ = planning.zoo().jobs
    number = planning.ledger.begin("", "", "", 1)
    planning.record(number, a, seconds=10.0)
    planning.record(number, b, seconds=2.0)
    assert [planned.seconds for planned in planning.plan().jobs] == [10.0, 2.0, 6.0]
    planning.entries = {"c": {"targets": "torchscript"}}
    assert [planned.seconds for planned in planning.plan().jobs] == [None]


def test_how_a_job_failed_is_told_until_it_goes_well(planning: Planning) -> None:
    a, b, c = planning.zoo().jobs
    ledger = planning.ledger
    first, second, third = (ledger.begin("", "", "", 1) for _ in range(3))
    for job in (a, b, c):
        planning.record(first, job, State.FAILED, attempts=(Attempt("out of memory", 1.0), Attempt("crashed", 1.0)))
    planning.record(second, b, State.BUILT)
    planning.record(second, c, State.SKIPPED)
    planning.record(third, a, State.FAILED)
    assert [planned.last for planned in planning.plan().jobs] == [
        "build 3: no reason is on record",
        "",
        "build 1: crashed",
    ]


def test_marks_are_of_every_file_at_any_depth(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").write_text("12")
    (tmp_path / "link").symlink_to("a")
    found = marks_of(tmp_path)
    assert set(found) == {"a/b/c", "link"}
    status = (tmp_path / "a" / "b" / "c").stat()
    assert found["a/b/c"] == (2, status.st_mtime_ns, status.st_ino)
    assert marks_of(tmp_path / "none") == {}
