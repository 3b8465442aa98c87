"""What commands print: one JSON document on stdout, or text; problems and progress go to stderr."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from artifacts.errors import Problem

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


def print_json(document: Mapping[str, Any], problems: Sequence[Problem] = ()) -> None:
    """Print `ok`, the document's members and `errors` as one JSON document.

    JSON has no NaN and no infinity: they are the strings "NaN", "Infinity" and "-Infinity".
    """
    errors = [{"stage": p.stage, "subject": p.subject, "message": p.message, "hint": p.hint} for p in problems]
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
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on stdout; wide cells fold on a terminal and stay on one line in a file."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    width = None if sys.stdout.isatty() else 200
    Console(width=width, highlight=False, markup=False).print(table)
