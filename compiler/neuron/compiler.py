"""Call neuronx-cc on an HloModuleProto, and take what it wrote for a NEFF only after reading it whole.

The real compiler has never been called by us: its command line is that of AWS's documentation, tried on a double.
"""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from artifacts.errors import BundleError, Problem, TargetError
from artifacts.manifest import Need
from artifacts.neff import Neff, read_neff
from artifacts.neuron_options import NeuronOptions
from compiler.neuron.bounded_run import Ended, never, run_tool
from compiler.neuron.ended import ending, last_words, shown
from compiler.neuron.probe import INSTALL, MINIMUM, Compiler, NoCompiler
from compiler.neuron.settings import OUTPUT_FILE, PROGRAM, SOURCE_FILE, arguments, command_line
from compiler.targets.target import Tell, silent

COMPILE_SECONDS = 3600.0
"""How long an engine may take if nobody says. A guess: no real compilation was ever seen here."""


@dataclass(frozen=True)
class Compiled:
    """A NEFF: its bytes, what they say, which compiler made them by which command, and what it said meanwhile.

    The command is for a shell, in a folder that has the source as `model.hlo.pb`. `said` may lack its middle.
    """

    data: bytes
    neff: Neff
    version: str
    command: str
    said: str


def _unheard(_ended: Ended) -> None:
    """Whom nobody asked how it ended."""


def compile_hlo(
    tool: Compiler | NoCompiler,
    name: str,
    source: bytes,
    options: NeuronOptions,
    *,
    timeout: float = COMPILE_SECONDS,
    tell: Tell = silent,
    stopped: Callable[[], bool] = never,
    ended: Callable[[Ended], None] = _unheard,
) -> Compiled:
    """Compile the engine `name`, whose source is a serialized HloModuleProto, in at most `timeout` seconds.

    The compiler works in a temporary folder, which is gone afterwards as are all of its processes. `tell` is called
    with its lines, `ended` with how it ended, once it did. Where `stopped` says so, that is as on an interrupt. Raises
    TargetError of the stage "compile" if there is no compiler, it fails, or leaves no NEFF that is whole.
    """
    command = command_line(options)
    engine = _Engine(name, command)
    if isinstance(tool, NoCompiler):
        raise engine.fault(tool.why, INSTALL)
    tell(f"{name}: {PROGRAM} {tool.version}")
    try:
        with tempfile.TemporaryDirectory(prefix="unspool-", ignore_cleanup_errors=True) as text:
            folder = Path(text)
            (folder / SOURCE_FILE).write_bytes(source)
            end = run_tool(
                [tool.path, *arguments(options)[1:]],
                folder=folder,
                seconds=timeout,
                variables=_temporaries(folder),
                heard=lambda line: tell(f"{name}: {shown(line)}"),
                stopped=stopped,
            )
            ended(end)
            engine.check(end, timeout)
            data, neff = engine.whole(folder / OUTPUT_FILE, end)
    except OSError as error:
        raise engine.fault(f"{PROGRAM} could not be run: {error}") from error
    return Compiled(data, neff, tool.version, command, end.said)


def sdk_need(options: NeuronOptions, source: str = SOURCE_FILE, output: str = OUTPUT_FILE) -> Need:
    """What an engine needs where there is no compiler.

    By hand its file `source` is compiled to `output`. NEURON_CC_FLAGS are those of the machine that compiles, and not
    those of the one that says so.
    """
    compiler = f"AWS Neuron's compiler, {PROGRAM} {MINIMUM[0]}.{MINIMUM[1]} or later, and no Neuron device ({INSTALL})"
    by_hand = shlex.join(arguments(options, source, output))
    return Need(
        what=f"{compiler}, by hand `{by_hand}`, or with Unspool",
        command="unspool emit --from BUNDLE --target neuronx -o BUNDLE2",
    )


@dataclass(frozen=True)
class _Engine:
    """The engine that is compiled, for what is to be said of it."""

    name: str
    command: str

    def fault(self, message: str, hint: str = "") -> TargetError:
        return TargetError(self.problem(message, hint))

    def problem(self, message: str, hint: str = "") -> Problem:
        by_hand = f"by hand, with the engine's source as {SOURCE_FILE}: {self.command}"
        return Problem("compile", f"engine {self.name}", message, f"{hint}; {by_hand}" if hint else by_hand)

    def check(self, ended: Ended, timeout: float) -> None:
        """Raise TargetError unless the compiler says that it succeeded."""
        smaller = "cut the decoder with --partitions: what is smaller compiles sooner"
        lighter = "a lower optimization level, or a smaller engine (--partitions)"
        fault = ending(PROGRAM, ended, timeout, smaller=smaller, lighter=lighter)
        if fault is not None:
            raise self.fault(*fault)

    def whole(self, path: Path, ended: Ended) -> tuple[bytes, Neff]:
        """The NEFF that the compiler left at `path`. Raises TargetError if there is none, or not a whole one."""
        if not path.is_file():
            raise self.fault(
                f"{PROGRAM} ended with status 0 and left no {OUTPUT_FILE}; its last words: {last_words(ended)}"
            )
        try:
            neff = read_neff(path)
        except BundleError as error:
            raise TargetError(
                *(self.problem(f"{_within(problem.subject, path)} {problem.message}") for problem in error.problems)
            ) from error
        if not neff.digest_matches:
            raise self.fault(f"what {PROGRAM} wrote is not what its own digest ({neff.header.digest_kind}) says")
        return path.read_bytes(), neff


def _temporaries(folder: Path) -> Mapping[str, str]:
    """Where the compiler puts files of its own: within the folder, so that they go with it."""
    (folder / "tmp").mkdir()
    return {"TMPDIR": str(folder / "tmp")}


def _within(subject: str, path: Path) -> str:
    """What a problem with the NEFF at `path` is about, without naming a folder that is about to go."""
    member = subject.removeprefix(str(path)).removeprefix(": ")
    return f"{member} in what {PROGRAM} wrote" if member else f"what {PROGRAM} wrote"
