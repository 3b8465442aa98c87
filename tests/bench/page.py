"""The report: docs/performance.md for people, build/bench.json for programs."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from tests.bench.figures import Figure

_TABLES: Mapping[str, tuple[str, str]] = {
    "speed": (
        "Answering a request",
        "The compiled bundle (`Session.run`) against ONNX Runtime on the source file, with the same inputs and the\n"
        "same number of threads. A ratio below 1 means that the bundle is faster.",
    ),
    "compile": (
        "Compiling",
        "The whole command in a process of its own, the start of Python included; of several runs the fastest. Memory\n"
        "is the most that the command and its child processes had in it at one time, mapped files included, over the\n"
        "bytes of the model's weights.",
    ),
    "decoding": (
        "Decoding",
        "The model of the demo reads lines of text, one at a time and each to its own length; one thread.",
    ),
}


@dataclass(frozen=True)
class Conditions:
    """Where and when figures were measured. `load` is the one-minute average before the first of them."""

    date: str
    processor: str
    processors: int
    system: str
    load: float
    versions: Mapping[str, str]


def conditions() -> Conditions:
    """Those of this machine, now."""
    packages = ("numpy", "onnx", "onnxruntime", "torch")
    return Conditions(
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        processor=_processor(),
        processors=os.cpu_count() or 1,
        system=f"{platform.system()} {platform.machine()}",
        load=round(os.getloadavg()[0], 1),
        versions={"Python": platform.python_version()} | {name: metadata.version(name) for name in packages},
    )


def document(figures: Sequence[Figure], measured: Conditions) -> str:
    """All that was measured, as JSON."""
    rows = [asdict(figure) | {"verdict": figure.verdict} for figure in figures]
    return json.dumps({"conditions": asdict(measured), "figures": rows}, indent=2) + "\n"


def page(figures: Sequence[Figure], measured: Conditions) -> str:
    """All that was measured, as Markdown."""
    versions = ", ".join(f"{name} {version}" for name, version in measured.versions.items())
    parts = [
        "# Performance",
        "Written by `make bench`; not edited by hand. Times are medians of calls that took turns, so that what slowed\n"
        "the machine slowed all of them; compare within a row, not between machines.",
        f"Measured on {measured.date}: {measured.processor}, {measured.processors} processors, {measured.system}.\n"
        f"{versions}. The load average was {measured.load} when it began: on a busy machine times are longer, and\n"
        "figures with two threads most of all.",
    ]
    for table, (title, text) in _TABLES.items():
        rows = [figure for figure in figures if figure.table == table]
        if rows:
            parts += [f"## {title}", text, _table(rows)]
    return "\n\n".join(parts) + "\n"


def line(figure: Figure) -> str:
    """One figure for a terminal."""
    bound = f"  (at most {figure.shown(figure.bound)}: {figure.verdict})" if figure.bound is not None else ""
    return f"{figure.what:<56} {figure.shown(figure.value):>14}{bound}  {figure.detail}"


def write(folder: Path, text: str, name: str) -> Path:
    """The file, after the text was written to it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def _table(figures: Sequence[Figure]) -> str:
    rows = ["| what | measured | at most | | from |", "| --- | --- | --- | --- | --- |"]
    for figure in figures:
        cells = (
            figure.what,
            figure.shown(figure.value),
            figure.shown(figure.bound),
            figure.verdict,
            figure.detail,
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((text.partition(":")[2].strip() for text in lines if text.startswith("model name")), platform.machine())
