"""The launch script in the shells that are here: what a command is given, where it runs, and how it all ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from artifacts.errors import UsageError
from artifacts.launch import cpu_script, neuron_script
from artifacts.neuron_serving import NeuronServing

SHELLS = [[path, *flags] for name, *flags in (["sh"], ["bash", "--posix"]) if (path := shutil.which(name))]
BUNDLE = Path('/no where/it\'s "here"')

TELLS = """
import json, os, sys
names = [name for name in os.environ if name.startswith(("UNSPOOL", "NEURON", "OMP"))]
told = {name: os.environ[name] for name in names}
told["words"] = sys.argv[2:]
told["processors"] = sorted(os.sched_getaffinity(0))
with open(os.path.join(sys.argv[1], told["UNSPOOL_INSTANCE"]), "w") as file:
    json.dump(told, file)
"""

WAITS = """
import os, signal, sys, time
def end(number, frame):
    file.write(signal.Signals(number).name)
    file.close()
    sys.exit(int(sys.argv[2]))
with open(os.path.join(sys.argv[1], os.environ["UNSPOOL_INSTANCE"]), "w") as file:
    signal.signal(signal.SIGTERM, end)
    print(os.getpid(), file=file, flush=True)
    time.sleep(60)
"""


@pytest.fixture(params=SHELLS, ids=lambda shell: Path(shell[0]).name)
def shell(request: pytest.FixtureRequest) -> list[str]:
    return list(request.param)


def run(shell: Sequence[str], script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*shell, "-c", script], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def told(folder: Path) -> list[dict[str, Any]]:
    """What the instances say of themselves, by number."""
    return [json.loads(file.read_text()) for file in sorted(folder.iterdir())]


def tells(folder: Path, *words: str) -> list[str]:
    return [sys.executable, "-c", TELLS, str(folder), *words]


def test_instances_have_their_neuron_cores(shell: list[str], tmp_path: Path) -> None:
    serving = NeuronServing(instances=2, visible_cores=(0, 1, 2, 3), exec_timeout=9)
    script = neuron_script(BUNDLE, tells(tmp_path), serving)
    done = run(shell, script, NEURON_RT_NUM_CORES="7", NEURON_RT_VISIBLE_CORES="8")
    assert (done.returncode, done.stderr) == (0, "")
    found = told(tmp_path)
    assert [each["NEURON_RT_VISIBLE_CORES"] for each in found] == ["0-1", "2-3"]
    for number, each in enumerate(found):
        assert each["UNSPOOL_INSTANCE"] == str(number)
        assert each["UNSPOOL_BUNDLE"] == str(BUNDLE)
        assert each["NEURON_RT_EXEC_TIMEOUT"] == "9"
        assert each["NEURON_RT_MULTI_INSTANCE_SHARED_WEIGHTS"] == "1"
        assert "NEURON_RT_NUM_CORES" not in each


def test_the_runtime_may_choose_the_cores(shell: list[str], tmp_path: Path) -> None:
    script = neuron_script(BUNDLE, tells(tmp_path), NeuronServing(instances=2))
    assert run(shell, script, NEURON_RT_VISIBLE_CORES="8").returncode == 0
    for each in told(tmp_path):
        assert each["NEURON_RT_NUM_CORES"] == "1"
        assert "NEURON_RT_VISIBLE_CORES" not in each


def test_processors_are_shared_out(shell: list[str], tmp_path: Path) -> None:
    usable = sorted(os.sched_getaffinity(0))
    assert run(shell, cpu_script(BUNDLE, tells(tmp_path), 2)).returncode == 0
    found = told(tmp_path)
    middle = len(usable) // 2
    assert [each["processors"] for each in found] == ([usable[:middle], usable[middle:]] if middle else [usable] * 2)
    for each in found:
        assert each["UNSPOOL_THREADS"] == each["OMP_NUM_THREADS"] == str(len(each["processors"]) if middle else 1)


def test_more_instances_than_processors_have_a_thread_each(shell: list[str], tmp_path: Path) -> None:
    count = os.cpu_count() or 1
    assert run(shell, cpu_script(BUNDLE, tells(tmp_path), count + 1)).returncode == 0
    assert len(told(tmp_path)) == count + 1
    assert {each["UNSPOOL_THREADS"] for each in told(tmp_path)} == {"1"}


def test_processors_can_be_named(shell: list[str], tmp_path: Path) -> None:
    first = min(os.sched_getaffinity(0))
    assert run(shell, cpu_script(BUNDLE, tells(tmp_path), 1, (first,))).returncode == 0
    (found,) = told(tmp_path)
    assert found["processors"] == [first]
    with pytest.raises(UsageError, match="there are 1 cores for 2 instances"):
        cpu_script(BUNDLE, ["true"], 2, (first,))


def test_without_taskset_there_is_a_share_of_threads(tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("getconf", "sed", "paste", "wc"):
        (tools / name).symlink_to(str(shutil.which(name)))
    (tmp_path / "told").mkdir()
    script = cpu_script(BUNDLE, tells(tmp_path / "told"), 2)
    assert run([str(shutil.which("sh"))], script, PATH=str(tools)).returncode == 0
    processors = os.cpu_count() or 1
    assert {int(each["UNSPOOL_THREADS"]) for each in told(tmp_path / "told")} <= {
        max(1, processors // 2),
        max(1, processors - processors // 2),
    }


WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
HARD = [
    "a b",
    "it's",
    '"',
    "$HOME",
    "$(id)",
    "`id`",
    "\\",
    "\n",
    "a\nb",
    "*",
    "",
    "-n",
    "!",
    "#",
    "x=1",
    "~",
    "&& id",
    "é",
]


@given(st.lists(WORDS, max_size=4), WORDS.filter(lambda text: "/" not in text and text not in {"", ".", ".."}))
@example(HARD, "it's $a\nfolder")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_word_arrives_as_it_was_given(words: list[str], name: str) -> None:
    """A shell's own printf is the command: a process of Python each time would take long."""
    bundle = Path("/") / name
    command = ["/usr/bin/printf", "%s\\0", *words] if words else ["/usr/bin/printf", "\\0"]
    for script in (
        cpu_script(bundle, command, 1, (min(os.sched_getaffinity(0)),)),
        neuron_script(bundle, command, NeuronServing()),
    ):
        for shell in SHELLS:
            done = subprocess.run([*shell, "-c", os.fsencode(script)], capture_output=True, check=False)
            assert (done.returncode, done.stderr) == (0, b"")
            assert done.stdout.decode().split("\0")[:-1] == (words or [""])


def test_the_bundle_s_path_and_a_command_of_any_name_arrive(shell: list[str], tmp_path: Path) -> None:
    program = tmp_path / "x=$1 'y'\n"
    program.write_text('#!/bin/sh\nprintf %s "$UNSPOOL_BUNDLE"')
    program.chmod(0o755)
    done = run(shell, neuron_script(BUNDLE, [str(program)], NeuronServing()))
    assert done.stdout == str(BUNDLE)


@pytest.mark.parametrize("command", [[], [""], ["-c"], ["a", "b\0c"]])
def test_what_no_shell_can_start_is_refused(command: list[str]) -> None:
    with pytest.raises(UsageError):
        neuron_script(BUNDLE, command, NeuronServing())


@contextmanager
def started(
    shell: Sequence[str], script: str, folder: Path, count: int
) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """The script while its instances wait, and their process ids."""
    with subprocess.Popen([*shell, "-c", script], stderr=subprocess.PIPE, text=True) as process:
        try:
            _until(lambda: sum(file.stat().st_size > 0 for file in folder.iterdir()) == count)
            pids = [int(file.read_text().split()[0]) for file in sorted(folder.iterdir())]
            yield process, pids
        finally:
            process.kill()


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end, "nothing happened in half a minute"
        time.sleep(0.01)


def waits(folder: Path, status: int) -> list[str]:
    return [sys.executable, "-c", WAITS, str(folder), str(status)]


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_every_instance(shell: list[str], sent: signal.Signals, tmp_path: Path) -> None:
    script = neuron_script(BUNDLE, waits(tmp_path, 0), NeuronServing(instances=3))
    with started(shell, script, tmp_path, 3) as (process, _):
        process.send_signal(sent)
        assert process.wait(30) == 0
    assert [file.read_text().split()[1] for file in sorted(tmp_path.iterdir())] == ["SIGTERM"] * 3


def test_an_instance_that_fails_on_the_way_out_is_told(shell: list[str], tmp_path: Path) -> None:
    script = neuron_script(BUNDLE, waits(tmp_path, 5), NeuronServing(instances=2))
    with started(shell, script, tmp_path, 2) as (process, _):
        process.terminate()
        assert process.wait(30) == 5
        assert process.stderr is not None
        assert process.stderr.read().count("ended with status 5") == 2


def test_one_that_is_killed_is_told_after_the_others_have_ended(shell: list[str], tmp_path: Path) -> None:
    script = neuron_script(BUNDLE, waits(tmp_path, 0), NeuronServing(instances=2))
    with started(shell, script, tmp_path, 2) as (process, pids):
        os.kill(pids[1], signal.SIGKILL)
        time.sleep(0.2)
        assert process.poll() is None, "the other one still serves"
        os.kill(pids[0], signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGKILL
        assert process.stderr is not None
        assert "instance 1 ended with status 137" in process.stderr.read()


def test_a_command_that_is_not_there_fails(shell: list[str]) -> None:
    assert run(shell, neuron_script(BUNDLE, ["/no/such/program"], NeuronServing(instances=2))).returncode == 127


def test_the_script_adds_what_is_declared_and_nothing_else() -> None:
    serving = NeuronServing(instances=2, visible_cores=(0, 1), exec_timeout=3)
    script = neuron_script(BUNDLE, ["/usr/bin/env"], serving)
    done = subprocess.run([*SHELLS[0], "-c", script], env={}, capture_output=True, text=True, check=True)
    names = {line.partition("=")[0] for line in done.stdout.splitlines()}
    assert names - {"PWD", "OLDPWD", "SHLVL", "_"} == {
        "UNSPOOL_BUNDLE",
        "UNSPOOL_INSTANCE",
        *serving.settings,
        "NEURON_RT_VISIBLE_CORES",
    }
