"""Small zoos: models, their file, builds in processes of their own, and what those leave."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artifacts.bundle import Bundle
from artifacts.canonical import canonical_json, sha256_file
from artifacts.manifest import MANIFEST_FILE, REPORT_FILE
from tests.support.cli import Outcome, child_environment, unspool_process
from tests.support.models import perceptron, saved

OPTIONS = {"opt-shapes": "x:2x16"}
"""Sizes of a perceptron's input, for targets whose engines take one."""


@dataclass(frozen=True)
class SmallZoo:
    """A zoo's file, and the folder that it is built into."""

    file: Path
    root: Path

    def write(self, entries: Sequence[Mapping[str, Any]], **more: Any) -> None:
        """Write the file: JSON is YAML."""
        self.file.write_bytes(canonical_json({"models": [dict(entry) for entry in entries], **more}, indent=1))

    def build(self, *flags: object, environment: Mapping[str, str] | None = None) -> Outcome:
        """Build it, with --json."""
        return unspool_process("zoo", "build", self.file, "-o", self.root, "--json", *flags, environment=environment)

    def start(self, *flags: object, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Begin to build it, as the leader of a group of its own."""
        command = [sys.executable, "-m", "compiler.cli.main", "zoo", "build", str(self.file), "-o", str(self.root)]
        return subprocess.Popen(
            [*command, *map(str, flags)],
            env=child_environment(environment),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )


def small_zoo(folder: Path, count: int, **more: Any) -> SmallZoo:
    """A zoo of so many perceptrons, each another one; `more` is what the file says besides."""
    for number in range(count):
        saved(perceptron(number), folder / f"m{number}.onnx")
    zoo = SmallZoo(folder / "zoo.yaml", folder / "out")
    zoo.write([{"name": f"m{number}", "path": f"m{number}.onnx"} for number in range(count)], **more)
    return zoo


def states(outcome: Outcome) -> dict[str, str]:
    """What became of each job."""
    return {job["job"]: job["state"] for job in outcome.document["jobs"]}


def bundles(root: Path) -> dict[str, dict[str, str]]:
    """The bundles below a folder by job, each the digests of its files but for how its build went. All are whole.

    What a killed writer leaves beside a place is hidden, and no bundle of anybody's.
    """
    found = {}
    for manifest in sorted(root.glob(f"*/[!.]*/{MANIFEST_FILE}")):
        bundle = Bundle.open(manifest.parent)
        files = [path for path in bundle.root.rglob("*") if path.is_file() and path.name != REPORT_FILE]
        job = bundle.root.relative_to(root.resolve()).as_posix()
        found[job] = {path.relative_to(bundle.root).as_posix(): sha256_file(path) for path in sorted(files)}
    return found


def half_made(root: Path) -> list[str]:
    """Folders at the places of bundles that hold none."""
    return [
        str(place)
        for place in root.glob("*/[!.]*")
        if place.is_dir() and _is_job(root, place) and not (place / MANIFEST_FILE).is_file()
    ]


def _is_job(root: Path, place: Path) -> bool:
    return not place.relative_to(root).parts[0].startswith((".", "store"))


def times_built(root: Path) -> dict[str, int]:
    """How often each job was built, by the ledger of all builds."""
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(root / "zoo.sqlite")) as database:
        rows = database.execute("SELECT job, count(*) FROM results WHERE state = 'built' GROUP BY job")
        return dict(rows)


def times_emitted(root: Path) -> dict[str, int]:
    """How often engines of each job were emitted, by the logs of its workers."""
    logs = root / ".logs"
    return {
        log.relative_to(logs).as_posix().removesuffix(".log"): log.read_text(errors="replace").count("emit: ")
        for log in logs.rglob("*.log")
    }


def story(zoo: SmallZoo, job: str) -> Any:
    """What the ledger tells of a job."""
    outcome = unspool_process("zoo", "why", zoo.root, job, "--json")
    return json.loads(outcome.stdout)["story"]
