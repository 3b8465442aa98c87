"""Passes that a compilation may leave out: they make engines faster or smaller, and nothing else needs them."""

from __future__ import annotations

from collections.abc import Iterator

from artifacts.errors import Problem
from compiler.options import CompileOptions
from compiler.targets import Target

LAST_PASSES = ("eliminate-copies",)
"""The passes of every compilation after those that look for patterns: those would no longer find theirs."""


def optional_passes(target: Target) -> tuple[str, ...]:
    """The names of those of a target."""
    return tuple(sorted({*target.fusions, *LAST_PASSES, *target.late_fusions}))


def skip_problems(options: CompileOptions, target: Target) -> Iterator[Problem]:
    """A problem for every pass that is to be left out and cannot be."""
    there = optional_passes(target)
    for name in options.skip_passes:
        if name not in there:
            hint = f"of target {target.name} these may be left out: {', '.join(there)}"
            yield Problem("options", f"--skip-pass {name}", "is no pass that may be left out", hint)
