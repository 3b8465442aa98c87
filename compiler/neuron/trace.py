"""Have the SDK trace parts, in a process of its own, and take what it wrote for a model only after reading it.

The SDK's packages have never been called by us: their arguments are those of AWS's documentation, tried on doubles.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from artifacts.errors import BundleError, Problem, TargetError
from artifacts.manifest import Need, WeightAccess
from artifacts.traced import EmbeddedNeff, read_traced
from compiler.neuron.bounded_run import run_tool
from compiler.neuron.ended import ending, last_words, shown
from compiler.neuron.trace_job import TraceJob
from compiler.neuron.tracers import Tracer, find_tracer, need_of
from compiler.neuron.tracing import TracerName
from compiler.targets.target import Made, Placement, Tell, silent

TRACE_SECONDS = 3600.0
"""How long the parts of an engine may take. A guess: no real trace was ever seen here."""

SUFFIX = ".neuron.pt"
"""What the file of a traced model ends in."""

_DEVICES: Mapping[TracerName, str] = MappingProxyType({"torch-neuronx": "Inf2, Trn1 or Trn2", "torch-neuron": "Inf1"})
"""The instances that run what a package traces."""

_INSIDE = "all weights: they are inside the traced model, and each process has a copy"
_OUTPUT = "traced.pt"
_FIXTURE = "FIXTURE"
"""What the tests' doubles of the SDK say that their output is. Nothing that they make may look compiled."""


@dataclass(frozen=True)
class Traced:
    """A traced model: its file's bytes, and the NEFFs in it."""

    data: bytes
    neffs: tuple[EmbeddedNeff, ...]


def script_path(name: str) -> str:
    """Where a bundle has the script of an engine."""
    return f"engines/{name}.trace.py"


def trace_need(tracer: TracerName, name: str) -> Need:
    """What an engine needs where there is no SDK, and the command that traces it."""
    what = f"{need_of(tracer)}, and no Neuron device"
    return Need(what=what, command=f"python BUNDLE/{script_path(name)} --output {name}{SUFFIX}")


def traced_model(name: str, job: TraceJob, placement: Placement) -> Made:
    """The engine `name` as the SDK traces it. Raises TargetError."""
    timeout = TRACE_SECONDS if placement.seconds is None else placement.seconds
    found = trace(find_tracer(job.tracer), name, job, placement.root, timeout=timeout, tell=placement.tell)
    device = Need(
        what=f"an AWS instance with Neuron cores ({_DEVICES[job.tracer]})",
        command="deploy it there: this version of Unspool does not run it",
    )
    weights = WeightAccess(default="embedded", ways={"embedded": _INSIDE})
    return Made("built", weights, plan=found.data, suffix=SUFFIX, needs=(device,))


def trace(
    tracer: Tracer,
    name: str,
    job: TraceJob,
    weights: Path,
    *,
    timeout: float = TRACE_SECONDS,
    tell: Tell = silent,
) -> Traced:
    """Trace the engine `name` in at most `timeout` seconds; `weights` is the folder of the bundle that has them.

    The SDK works in a temporary folder, which is gone afterwards as are all of its processes. `tell` is called with its
    lines. Raises TargetError of the stage "compile" if it fails, or leaves no TorchScript file that is whole and has a
    NEFF for each part.
    """
    tell(f"{name}: {tracer.name} {tracer.version}")
    program = f"{tracer.name}'s trace"
    try:
        with tempfile.TemporaryDirectory(prefix="unspool-", ignore_cleanup_errors=True) as text:
            folder = Path(text)
            script, output, temporary = folder / script_path("model"), folder / _OUTPUT, folder / "tmp"
            for part in job.parts:
                (folder / part.path).parent.mkdir(exist_ok=True)
                (folder / part.path).write_bytes(part.data)
            script.write_text(job.script(), encoding="utf-8")
            temporary.mkdir()
            command = [tracer.python, str(script), "--output", str(output), "--weights", str(weights.absolute())]
            ended = run_tool(
                [*command, "--workdir", str(folder / "work")],
                folder=folder,
                seconds=timeout,
                variables={"TMPDIR": str(temporary)},
                heard=lambda line: tell(f"{name}: {shown(line)}"),
            )
            smaller, lighter = "take fewer rows or tokens (--opt-shapes, --max-length)", "or take fewer rows or tokens"
            if fault := ending(program, ended, timeout, smaller=smaller, lighter=lighter):
                raise _fault(name, *fault)
            if not output.is_file():
                raise _fault(
                    name, f"{program} ended with status 0 and left no file; its last words: {last_words(ended)}"
                )
            return _whole(name, program, job, output)
    except OSError as error:
        raise _fault(name, f"{program} could not be run: {error}") from error


def _whole(name: str, program: str, job: TraceJob, output: Path) -> Traced:
    """What was traced, if it is believed."""
    try:
        neffs = read_traced(output)
    except BundleError as error:
        faults = [
            (problem.subject.replace(str(output), f"what {program} wrote"), problem) for problem in error.problems
        ]
        raise TargetError(*(_problem(name, f"{where} {problem.message}") for where, problem in faults)) from error
    if len(neffs) < len(job.parts):
        raise _fault(name, f"what {program} wrote has {len(neffs)} NEFFs, for {len(job.parts)} parts")
    if any(_FIXTURE in found.neff.header.build for found in neffs):
        raise _fault(name, f"{program} is that of a stand-in for tests: what it wrote is a fixture, and no model")
    return Traced(output.read_bytes(), neffs)


def _fault(name: str, message: str, hint: str = "") -> TargetError:
    return TargetError(_problem(name, message, hint))


def _problem(name: str, message: str, hint: str = "") -> Problem:
    return Problem("compile", f"engine {name}", message, hint or "leave out --neuron-tracer to go without the SDK")
