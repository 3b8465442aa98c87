"""The report: docs/performance.md for people, docs/performance.json for programs."""

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
from tests.bench.parts import PARTS
from tests.bench.peers.contest import Contest
from tests.bench.peers.report import section


@dataclass(frozen=True)
class Conditions:
    """Where and when figures were measured. `load` is the one-minute average before the first of them.

    `remark` says what else a reader has to know of them; a measurement leaves it empty.
    """

    date: str
    processor: str
    processors: int
    system: str
    load: float
    versions: Mapping[str, str]
    remark: str = ""


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


@dataclass(frozen=True)
class Measured:
    """The figures of one part, and the conditions that they were measured under; of the peers their times as well."""

    conditions: Conditions
    figures: tuple[Figure, ...]
    contests: tuple[Contest, ...] = ()


def document(parts: Mapping[str, Measured]) -> str:
    """All that was measured, as JSON; what a part has none of is left out."""
    fields = {name: {key: value for key, value in asdict(part).items() if value} for name, part in parts.items()}
    return json.dumps(fields, indent=2) + "\n"


def read_document(text: str) -> dict[str, Measured]:
    """What `document` wrote."""
    return {
        name: Measured(
            Conditions(**part["conditions"]),
            tuple(Figure(**figure) for figure in part.get("figures", ())),
            tuple(map(Contest.of, part.get("contests", ()))),
        )
        for name, part in json.loads(text).items()
    }


def page(measured: Mapping[str, Measured]) -> str:
    """All that was measured, as Markdown."""
    texts = [
        "# Performance",
        "Written by `make bench`, part by part. Times are medians of calls that took turns, so that what slowed\n"
        "the machine slowed all of them; compare within a row, not between machines. The load average is that of the\n"
        "beginning: on a busy machine times are longer, and figures with two threads most of all.",
    ]
    for name, part in PARTS.items():
        if name in measured:
            found = measured[name]
            times = [section(found.contests)] if found.contests else []
            texts += [f"## {part.title}", part.text, *times, _table(found.figures), _described(found.conditions)]
    return "\n\n".join(texts) + "\n"


def _described(conditions: Conditions) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in conditions.versions.items())
    remark = f"\n\n{conditions.remark}" if conditions.remark else ""
    return (
        f"{conditions.date}, load average {conditions.load}; {conditions.processor}, {conditions.processors}\n"
        f"processors, {conditions.system}; {versions}.{remark}"
    )


def line(figure: Figure) -> str:
    """One figure for a terminal."""
    bound = f"  (at most {figure.shown(figure.bound)}: {figure.verdict})" if figure.bound is not None else ""
    return f"{figure.what:<56} {figure.shown(figure.value):>14}{bound}  {figure.detail}"


def write(path: Path, text: str) -> None:
    """Write a file of the report."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


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
