"""Run trials: neuronx-cc on a source with a set of flags, each to its own end, whatever that is."""

from __future__ import annotations

import shlex
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from artifacts.errors import TargetError
from artifacts.neuron_options import NeuronOptions
from compiler.neuron.bounded_run import Ended
from compiler.neuron.compiler import compile_hlo
from compiler.neuron.probe import Compiler
from compiler.neuron.said import complaint
from compiler.neuron.settings import arguments, environment_flags
from compiler.neuron.tuning.work import Attempt, End, Outcome, Work
from compiler.targets.target import Tell


@dataclass(frozen=True)
class Trial:
    """A set of flags to try on the source of an engine: a file, and the digest of that."""

    engine: str
    path: Path
    digest: str
    options: NeuronOptions

    def attempt(self, version: str) -> Attempt:
        """The trial by a compiler of a version, in the environment as it is now."""
        command = shlex.join(arguments(self.options))
        return Attempt(source=self.digest, command=command, compiler=version, environment=environment_flags())


@dataclass(frozen=True)
class Running:
    """How trials are run: by which compiler, in how many seconds each, and how many at a time.

    What was tried before is not tried again, but for want of time where there is more now; with `again` nor is what
    failed taken for the last word.
    """

    tool: Compiler
    seconds: float
    jobs: int = 1
    again: bool = False


def known_outcome(trial: Trial, running: Running, work: Work) -> Outcome | None:
    """What came of a trial before, None if it is to be run."""
    found = work.outcome(trial.attempt(running.tool.version))
    if found is None or found.end == "compiled":
        return found
    more_time = found.end == "timeout" and running.seconds > found.limit
    return None if running.again or more_time else found


def run_trials(
    trials: Sequence[Trial], running: Running, work: Work, finished: Callable[[Trial, Outcome], None], tell: Tell
) -> None:
    """Run trials, and keep what comes of each as soon as it ends; `finished` is called with it, one at a time.

    A trial that fails costs itself only. On an interrupt nothing runs any more when this raises. Raises TargetError if
    the compiler cannot be run at all, BundleError if an outcome cannot be kept.
    """
    stopped, telling = threading.Event(), threading.Lock()

    def run(trial: Trial) -> None:
        if stopped.is_set():
            return
        outcome = _tried(trial, running, tell, stopped.is_set)
        with telling:
            work.record(outcome)
            finished(trial, outcome)

    with ThreadPoolExecutor(running.jobs) as pool:
        try:
            futures = [pool.submit(run, trial) for trial in trials]
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            stopped.set()
    errors = [error for future in futures if (error := future.exception()) is not None]
    # One that failed stopped the others, which is not what is to be told.
    for error in sorted(errors, key=lambda error: isinstance(error, KeyboardInterrupt)):
        raise error


def _tried(trial: Trial, running: Running, tell: Tell, stopped: Callable[[], bool]) -> Outcome:
    seen: list[Ended] = []
    attempt = trial.attempt(running.tool.version)
    began = time.monotonic()
    neff_bytes, words = None, ""
    try:
        compiled = compile_hlo(
            running.tool,
            trial.engine,
            trial.path.read_bytes(),
            trial.options,
            timeout=running.seconds,
            tell=tell,
            stopped=stopped,
            ended=seen.append,
        )
        neff_bytes = len(compiled.data)
    except TargetError as error:
        if not seen:
            raise
        words = error.problems[0].message
    return Outcome(
        attempt=attempt,
        engine=trial.engine,
        end="compiled" if neff_bytes is not None else _end(seen[0]),
        seconds=round(time.monotonic() - began, 3),
        limit=running.seconds,
        neff_bytes=neff_bytes,
        code="" if seen[0].status == 0 else complaint(seen[0].said).code,
        words=words,
    )


def _end(ended: Ended) -> End:
    """How a compiler ended that left no NEFF."""
    if ended.status is None:
        return "timeout"
    if ended.status == 0:
        return "no-neff"
    if ended.status in {-signal.SIGKILL, 128 + signal.SIGKILL}:
        return "killed"
    return "crashed" if ended.status < 0 else "failed"
