"""A zoo as its users build it: workers that die cost one job, a build that is killed goes on, make does the same."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.support.cli import child_environment, unspool_process
from tests.support.models import perceptron, saved
from tests.support.zoo import (
    OPTIONS,
    SmallZoo,
    bundles,
    half_made,
    small_zoo,
    states,
    story,
    times_built,
    times_emitted,
)

CRASH = "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n"
EAT = "import time\neaten = []\nwhile True:\n    eaten.append(bytearray(b'x' * (64 << 20)))\n    time.sleep(0.02)\n"
HANG = "import time\ntime.sleep(600)\n"
FAIL = "raise ValueError('of its own')\n"


@pytest.fixture(scope="module")
def with_bad_workers(tmp_path_factory: pytest.TempPathFactory) -> tuple[SmallZoo, dict[str, Any]]:
    """A build of models of which some have code that is no good for the process that runs it."""
    folder = tmp_path_factory.mktemp("zoo")
    zoo = small_zoo(folder, 6)
    for name, code in (("crash", CRASH), ("eat", EAT), ("hang", HANG), ("fail", FAIL)):
        (folder / f"{name}.py").write_text(code)
    zoo.write(
        [
            {"name": "good", "path": "m0.onnx", "targets": ["onnxruntime", "torchscript"], "options": OPTIONS},
            {"name": "crash", "path": "m1.onnx", "options": {"custom-ops": "crash.py"}},
            {"name": "eat", "path": "m2.onnx", "options": {"custom-ops": "eat.py"}, "limits": {"memory": "1500MB"}},
            {"name": "hang", "path": "m3.onnx", "options": {"custom-ops": "hang.py"}, "limits": {"time": "4s"}},
            {"name": "fail", "path": "m4.onnx", "options": {"custom-ops": "fail.py"}},
            {"name": "last", "path": "m5.onnx"},
        ]
    )
    outcome = zoo.build("--workers", 2)
    assert outcome.status == 1, outcome.stderr
    return zoo, {job["job"]: job for job in outcome.document["jobs"]}


@pytest.mark.parametrize(
    ("job", "reason", "attempts"),
    [
        ("crash/onnxruntime-fp32", "crashed: SIGSEGV", 2),
        ("eat/onnxruntime-fp32", "and its limit is 1.40 GiB", 1),
        ("hang/onnxruntime-fp32", "did not end within 4 s", 1),
        ("fail/onnxruntime-fp32", "of its own", 1),
    ],
)
def test_a_job_that_ends_badly_is_told_by_name_and_reason(
    with_bad_workers: tuple[SmallZoo, dict[str, Any]], job: str, reason: str, attempts: int
) -> None:
    """One that crashed is tried again; one that failed, or went over a limit, would only do so again."""
    zoo, jobs = with_bad_workers
    assert jobs[job]["state"] == "failed"
    assert [reason in attempt["reason"] for attempt in jobs[job]["attempts"]] == [True] * attempts
    assert jobs[job]["problems"][0]["hint"]
    assert [each["state"] for each in story(zoo, job)] == ["failed"]


def test_all_others_finish(with_bad_workers: tuple[SmallZoo, dict[str, Any]]) -> None:
    zoo, jobs = with_bad_workers
    good = {name for name, job in jobs.items() if job["state"] == "built"}
    assert good == {"good/onnxruntime-fp32", "good/torchscript-fp32", "last/onnxruntime-fp32"}
    assert set(bundles(zoo.root)) == good
    assert half_made(zoo.root) == []


def test_the_next_build_tries_what_failed_alone(with_bad_workers: tuple[SmallZoo, dict[str, Any]]) -> None:
    zoo, _ = with_bad_workers
    outcome = unspool_process("zoo", "build", zoo.file, "-o", zoo.root, "--dry-run", "--json")
    due = {job["job"]: job for job in outcome.document["jobs"] if job["due"]}
    assert set(due) == {f"{name}/onnxruntime-fp32" for name in ("crash", "eat", "hang", "fail")}
    assert all("build 1: " in job["last_failure"] for job in due.values())


def killed_until_done(zoo: SmallZoo, kills: int, random: Random, seconds: float, *, group: bool) -> list[set[str]]:
    """Kill builds at random points, then let one end. What was whole after each kill."""
    seen = []
    for _ in range(kills):
        process = zoo.start("--workers", 2)
        time.sleep(random.uniform(0, seconds))
        if group:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()
        assert half_made(zoo.root) == []
        seen.append(set(bundles(zoo.root)))
    outcome = zoo.build("--workers", 2)
    assert outcome.status == 0, outcome.stderr
    return seen


def check_kills(tmp_path: Path, count: int, kills: int, seed: int) -> None:
    zoo = small_zoo(tmp_path, count)
    began = time.monotonic()
    assert zoo.build("--workers", 2).status == 0
    seconds = time.monotonic() - began
    undisturbed = bundles(zoo.root)
    other = SmallZoo(zoo.file, tmp_path / "killed")
    seen = killed_until_done(other, kills, Random(seed), seconds, group=seed % 2 == 0)
    assert bundles(other.root) == undisturbed
    assert all(before <= after for before, after in itertools.pairwise(seen)), "nothing finished is lost"
    # One that was in its place when its build was killed, and not on record yet, counts as found and not as built.
    assert max(times_built(other.root).values(), default=0) <= 1
    finished_early = set().union(*seen)
    emitted = times_emitted(other.root)
    assert all(emitted[job] <= 1 + kills for job in emitted)
    again = other.build("--workers", 2)
    assert set(states(again).values()) == {"up-to-date"}
    assert times_emitted(other.root) == emitted
    assert finished_early <= set(undisturbed)


def test_a_build_that_is_killed_goes_on(tmp_path: Path) -> None:
    check_kills(tmp_path, count=4, kills=2, seed=3)


@pytest.mark.slow  # twenty builds that are killed, and those that go on
@pytest.mark.parametrize("seed", [4, 5])
def test_a_build_that_is_killed_at_ten_points_goes_on(tmp_path: Path, seed: int) -> None:
    """Twice: with the build alone killed, whose workers then end by themselves, and with its whole group."""
    check_kills(tmp_path, count=12, kills=10, seed=seed)


def test_what_is_built_after_a_change_is_what_it_can_affect(tmp_path: Path) -> None:
    zoo = small_zoo(tmp_path, 3)
    entries: list[dict[str, Any]] = [
        {"name": "a", "path": "m0.onnx", "precisions": ["fp32", "int8"]},
        {"name": "b", "path": "m1.onnx"},
        {"name": "c", "path": "m2.onnx"},
    ]
    zoo.write(entries)
    assert zoo.build().status == 0
    assert set(states(zoo.build()).values()) == {"up-to-date"}
    entries[1]["options"] = {"merge-casts": True}
    zoo.write(entries)
    explained = unspool_process("zoo", "build", zoo.file, "-o", zoo.root, "--explain", "b", "--explain", "c")
    assert "because option merge_casts: false -> true" in explained.stdout
    assert "c/onnxruntime-fp32" in explained.stdout
    assert explained.stdout.count("up to date") == 1
    outcome = zoo.build()
    assert {job for job, state in states(outcome).items() if state == "built"} == {"b/onnxruntime-fp32"}
    saved(perceptron(9), tmp_path / "m2.onnx")
    outcome = zoo.build()
    built = {job["job"]: job["why"] for job in outcome.document["jobs"] if job["state"] == "built"}
    assert built == {"c/onnxruntime-fp32": "model c has changed"}
    del entries[1]["options"]
    zoo.write(entries)
    assert states(zoo.build())["b/onnxruntime-fp32"] == "cached", "the store has it from the first build"


def make(zoo: SmallZoo, *arguments: str) -> str:
    unspool = f"{sys.executable} -m compiler.cli.main"
    done = subprocess.run(
        ["make", "-f", "zoo.mk", f"UNSPOOL={unspool}", *arguments],
        cwd=zoo.file.parent,
        env=child_environment({"MAKEFLAGS": "", "MAKELEVEL": ""}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_make_builds_by_rules_and_then_has_nothing_to_do(tmp_path: Path) -> None:
    zoo = small_zoo(tmp_path, 2)

    def rules() -> None:
        outcome = unspool_process("zoo", "rules", zoo.file, "-o", zoo.root, cwd=tmp_path)
        assert outcome.status == 0, outcome.stderr
        (tmp_path / "zoo.mk").write_text(outcome.stdout)

    rules()
    assert make(zoo, "-j2", "zoo").count(" compile ") == 2
    assert set(bundles(zoo.root)) == {"m0/onnxruntime-fp32", "m1/onnxruntime-fp32"}
    rules()
    assert "Nothing to be done" in make(zoo, "-j2", "zoo")
    os.utime(tmp_path / "m1.onnx")
    printed = make(zoo, "-j2", "zoo")
    assert (printed.count(" compile "), "m1: " in printed or "m1/onnxruntime-fp32: up to date" in printed) == (1, True)
    assert "Nothing to be done" in make(zoo, "zoo")
    zoo.write([{"name": "m0", "path": "m0.onnx", "options": {"merge-casts": True}}, {"name": "m1", "path": "m1.onnx"}])
    rules()
    printed = make(zoo, "zoo")
    assert (printed.count(" compile "), "--merge-casts" in printed) == (1, True)
    by_scheduler = zoo.build()
    assert set(states(by_scheduler).values()) == {"up-to-date"}, "the bundles are the same"


def test_of_two_builds_in_one_folder_the_second_is_refused(tmp_path: Path) -> None:
    zoo = small_zoo(tmp_path, 2)
    process = zoo.start()
    try:
        while not (zoo.root / "zoo.sqlite").exists():
            assert process.poll() is None
            time.sleep(0.02)
        outcome = zoo.build()
        assert outcome.status == 2
        assert "another build is at work here" in outcome.error["message"]
    finally:
        process.kill()
        process.wait()


def test_an_interrupt_ends_a_build_and_keeps_what_is_finished(tmp_path: Path) -> None:
    zoo = small_zoo(tmp_path, 3)
    (tmp_path / "hang.py").write_text(HANG)
    zoo.write(
        [
            {"name": "a", "path": "m0.onnx"},
            {"name": "b", "path": "m1.onnx", "options": {"custom-ops": "hang.py"}},
            {"name": "c", "path": "m2.onnx", "options": {"custom-ops": "hang.py"}},
        ]
    )
    process = zoo.start("--workers", 2)
    deadline = time.monotonic() + 120
    while set(bundles(zoo.root)) != {"a/onnxruntime-fp32"} and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)
    jobs = unspool_process("zoo", "ls", zoo.root, "--json").document
    assert jobs["build"]["status"] == "stopped"
    assert {job["job"]: job["state"] for job in jobs["jobs"]}["a/onnxruntime-fp32"] == "built"
    assert "failed" not in {job["state"] for job in jobs["jobs"]}


def test_fail_fast_ends_a_build_with_the_first_job_that_fails(tmp_path: Path) -> None:
    zoo = small_zoo(tmp_path, 2)
    (tmp_path / "fail.py").write_text(FAIL)
    zoo.write(
        [
            {"name": "bad", "path": "m0.onnx", "options": {"custom-ops": "fail.py"}, "labels": "one"},
            {"name": "good", "path": "m1.onnx", "labels": ["one", "two"]},
        ]
    )
    outcome = zoo.build("--fail-fast", "--workers", 1)
    assert (outcome.status, states(outcome)) == (
        1,
        {"bad/onnxruntime-fp32": "failed", "good/onnxruntime-fp32": "skipped"},
    )
    assert "of its own" in outcome.error["message"]
    outcome = zoo.build("--label", "two")
    assert (outcome.status, states(outcome)) == (0, {"good/onnxruntime-fp32": "built"})
    outcome = zoo.build("--only", "nothing")
    assert (outcome.status, outcome.error["subject"]) == (2, "nothing")


def test_prune_removes_what_no_job_makes(tmp_path: Path) -> None:
    zoo = small_zoo(tmp_path, 2)
    assert zoo.build().status == 0
    zoo.write([{"name": "m1", "path": "m1.onnx"}])
    assert zoo.build().document["strays"] == ["m0/onnxruntime-fp32"]
    outcome = unspool_process("zoo", "prune", zoo.file, "-o", zoo.root, "--json")
    assert outcome.document["bundles"] == ["m0/onnxruntime-fp32"]
    assert outcome.document["bytes"] > 0
    assert set(bundles(zoo.root)) == {"m1/onnxruntime-fp32"}
    assert not (zoo.root / "m0").exists()
    shutil.rmtree(zoo.root / "m1")
    assert states(zoo.build()) == {"m1/onnxruntime-fp32": "cached"}, "what is needed was kept"
