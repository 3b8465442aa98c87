"""`unspool`: the commands, and how every one of them ends."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

import click
import typer

from artifacts.errors import Problem, UnspoolError
from compiler.cli import bundles, catalog, compiling
from compiler.cli.output import print_json, print_problems

DEBUG_VARIABLE = "UNSPOOL_DEBUG"

app = typer.Typer(
    name="unspool",
    help="Compile ONNX models into bundles: engines for one target, one copy of the weights, a manifest.",
    epilog="Exit status: 0 all that was asked for was made, 1 the job failed, 2 the call was wrong.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (compiling, bundles, catalog):
    for command in module.COMMANDS:
        app.command(command.__name__.removesuffix("_command"))(command)


def run(arguments: Sequence[str] | None = None) -> None:
    """The console script. Ends the process with the documented exit status."""
    sys.exit(main(sys.argv[1:] if arguments is None else arguments))


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status. Every error is printed once, as text or as JSON."""
    as_json = "--json" in arguments
    try:
        result = typer.main.get_command(app).main(list(arguments), prog_name="unspool", standalone_mode=False)
    except UnspoolError as error:
        return _fail(error.problems, error.exit_code, as_json)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.ctx.get_help() if error.ctx else "", file=sys.stderr)
        return 2
    except click.ClickException as error:
        hint = f"see {error.ctx.command_path} --help" if isinstance(error, click.UsageError) and error.ctx else ""
        return _fail([Problem("options", "command line", error.format_message(), hint)], 2, as_json)
    except (KeyboardInterrupt, click.Abort):
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader went away (`unspool inspect ... | head`): not an error, and nothing may be written any more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - the last line of defence: a defect of ours is no traceback either
        if os.environ.get(DEBUG_VARIABLE):
            traceback.print_exc()
        hint = f"a defect of Unspool; set {DEBUG_VARIABLE}=1 for a traceback and report it"
        return _fail([Problem("internal", type(error).__name__, str(error) or "no message", hint)], 1, as_json)
    return result if isinstance(result, int) else 0


def _fail(problems: Sequence[Problem], status: int, as_json: bool) -> int:
    if as_json:
        print_json({"ok": False}, problems)
    else:
        print_problems(problems)
    return status


if __name__ == "__main__":
    run()
