"""What commands print: one JSON document on stdout, or text; problems and progress go to stderr."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Annotated, Any

import typer

from artifacts.errors import Problem, UsageError

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


def print_json(document: Mapping[str, Any], problems: Sequence[Problem] = ()) -> None:
    """Print `ok`, the document's members and `errors` as one JSON document.

    JSON has no NaN and no infinity: they are the strings "NaN", "Infinity" and "-Infinity".
    """
    errors = [{name: _clipped(text) for name, text in asdict(problem).items()} for problem in problems]
    whole = _finite({"ok": not errors, **document, "errors": errors})
    print(json.dumps(whole, indent=2, default=str, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def print_problems(problems: Sequence[Problem]) -> None:
    """Print each problem for people, with its stage, subject and hint."""
    for problem in problems[:MOST_PROBLEMS]:
        shown = Problem(*(_printable(_clipped(text)) for text in astuple(problem)))
        print(f"error: {shown}", file=sys.stderr)
    if len(problems) > MOST_PROBLEMS:
        print(f"error: and {len(problems) - MOST_PROBLEMS} more; --json lists them all", file=sys.stderr)


MOST_PROBLEMS = 100
"""Problems printed for people."""

LONGEST_TEXT = 2000
"""Characters of one message: a name in a file may have a million."""


def _clipped(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}... ({len(text)} characters)"


def _printable(text: str) -> str:
    """The text without what would move a terminal's cursor or change its colours: names come from files."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on stdout; what is wide folds on a terminal and stays on one line in a file."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(_printable, row))
    width = None if sys.stdout.isatty() else 200
    console = Console(width=width, highlight=False, markup=False)
    console.print(title, style="italic", soft_wrap=True)  # a table's own title folds at the table's width
    console.print(table)


@contextmanager
def byte_progress(verb: str) -> Iterator[Callable[[int, int], None]]:
    """Tell people how far a long job is: call with the bytes that are done, and those that there are.

    Nothing is printed in its first two seconds; from then on one line that changes on a terminal, and elsewhere a line
    every ten seconds.
    """
    is_terminal = sys.stderr.isatty()
    due = time.monotonic() + 2
    shown = False

    def tell(done: int, total: int) -> None:
        nonlocal due, shown
        if time.monotonic() < due:
            return
        print(
            f"{verb}: {done / 1e9:.2f} of {total / 1e9:.2f} GB",
            end="\r" if is_terminal else "\n",
            file=sys.stderr,
            flush=True,
        )
        due = time.monotonic() + (0.2 if is_terminal else 10)
        shown = True

    try:
        yield tell
    finally:
        if shown and is_terminal:
            print(file=sys.stderr)


def write_file(stage: str, path: Path, data: bytes) -> None:
    """Write a file whole or not at all. Raises UsageError if it cannot be written."""
    temporary = path.with_name(f".{path.name}.unspool")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UsageError.of(stage, str(path), f"cannot be written: {error.strerror}", "is the folder there?") from error
