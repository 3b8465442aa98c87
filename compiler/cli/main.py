"""`unspool`: the commands, and how every one of them ends."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

import typer

from artifacts.errors import MissingToolError, Problem, UnspoolError, UsageError
from compiler.cli import bundles, catalog, compiling, emitting, launching, packing, stores, tuning, zoo
from compiler.cli.output import print_json, print_problems

DEBUG_VARIABLE = "UNSPOOL_DEBUG"
INTERRUPTED = 130

app = typer.Typer(
    name="unspool",
    help="Compile ONNX models into bundles: engines for one target, one copy of the weights, a manifest.",
    epilog="Exit status: 0 all that was asked for was made, 1 the job failed, 2 the call was wrong.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (compiling, emitting, tuning, bundles, launching, packing, catalog):
    for command in module.COMMANDS:
        app.command(command.__name__.removesuffix("_command"))(command)
app.add_typer(stores.app)
app.add_typer(zoo.app)


def run(arguments: Sequence[str] | None = None) -> None:
    """The console script. Ends the process with the documented exit status."""
    # torch makes a folder for TorchInductor, which nothing here uses, unless it is told one that is there.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", os.sep)
    sys.exit(main(sys.argv[1:] if arguments is None else arguments))


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status. Every error is printed once, as text or as JSON."""
    status, problems = _outcome(arguments)
    if problems and "--json" in arguments:
        print_json({"ok": False}, problems)
    else:
        print_problems(problems)
    return status


def _outcome(arguments: Sequence[str]) -> tuple[int, Sequence[Problem]]:
    command = typer.main.get_command(app)
    try:
        # Not `command.main`, which would print errors, and end the process, in its own way.
        with command.make_context("unspool", list(arguments)) as context:
            command.invoke(context)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader went away (`unspool inspect ... | head`): not an error, and nothing may be written any more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the last line of defence: see `_defect`
        return _ending(error)
    return 0, ()


def _ending(error: BaseException) -> tuple[int, Sequence[Problem]]:
    """The exit status of a command that did not run to its end, and what is to be said about it."""
    match error:
        case typer.Exit():
            return error.exit_code, ()
        case UnspoolError():
            return error.exit_code, error.problems
        case typer.TyperException():
            return UsageError.exit_code, _wrong_call(error)
        case KeyboardInterrupt():
            return INTERRUPTED, [Problem("command line", "unspool", "interrupted")]
        case ModuleNotFoundError() if (package := (error.name or "").partition(".")[0]) in _COMPILER_PACKAGES:
            missing = Problem("command line", package, "is not installed", 'pip install "unspool[compile]"')
            return MissingToolError.exit_code, [missing]
        case _:
            return 1, [_defect(error)]


_COMPILER_PACKAGES = frozenset({"ml_dtypes", "onnx", "onnx-ir", "onnx_ir", "onnxruntime", "onnxscript", "torch"})
"""What a host that only runs bundles leaves out, by the names of modules and of distributions."""


def _defect(error: BaseException) -> Problem:
    """An error that nobody foresaw is a defect of ours, and no traceback for the user either. Memory may run out."""
    if isinstance(error, MemoryError):
        hint = "give smaller sizes with --opt-shapes, or use a machine with more memory"
        return Problem("command line", "memory", "there is not enough of it for this", hint)
    if os.environ.get(DEBUG_VARIABLE):
        traceback.print_exception(error)
    hint = f"a defect of Unspool; set {DEBUG_VARIABLE}=1 for a traceback and report it"
    return Problem("internal", type(error).__name__, str(error) or "no message", hint)


def _wrong_call(error: typer.TyperException) -> Sequence[Problem]:
    """What was wrong with the arguments; nothing for a call without any, which has printed the help."""
    context: typer.Context | None = getattr(error, "ctx", None)
    hint = f"see {context.command_path if context else 'unspool'} --help"
    message = error.format_message()
    return [Problem("options", "command line", message, hint)] if message else ()


if __name__ == "__main__":
    run()
