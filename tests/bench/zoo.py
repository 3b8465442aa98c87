"""A zoo of a hundred small models and six real ones: what builds cost, alone and side by side."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.cases import BUILD
from tests.bench.figures import Figure
from tests.support.models import PROJECT, perceptron, saved

SMALL = 100
DATA = PROJECT / "tests" / "data"
REAL = {
    "ocr": PROJECT / "examples" / "ocr" / "model.onnx",
    "bert": DATA / "bert_tiny" / "model.onnx",
    "g2p": DATA / "g2p_en" / "g2p.onnx",
    "t5": DATA / "t5_tiny" / "model.onnx",
    "marian": DATA / "marian_tiny" / "model.onnx",
    "conformer": DATA / "ocr_conformer" / "model.onnx",
}
TARGETS = ("onnxruntime", "tensorrt", "torchscript")
SIZES = {
    "ocr": "image:2x1x16x320",
    "bert": "input_ids:2x16,attention_mask:2x16,token_type_ids:2x16",
    "g2p": "graphemes:2x16,decoder_input_ids:2x8",
    "t5": "input_ids:2x16,attention_mask:2x16",
    "marian": "input_ids:2x16,attention_mask:2x16",
    "conformer": "image:2x1x32x320,decoder_input_ids:2x8",
}
"""The sizes of inputs, for all targets alike: some are built for a range of sizes, some for one."""

NO_CHANGE_BOUND = 2.0
TWO_WORKERS_BOUND = 1 / 1.7
THREE_TARGETS_BOUND = 1.6
RAY_BOUND = 1.25
MEMORY = "2GiB"


def of_a_zoo(*, quick: bool) -> Iterator[Figure]:
    """Cold builds, each into a folder of its own: with one worker and two, for one target and three, and by Ray."""
    folder = BUILD / "zoo"
    shutil.rmtree(folder, ignore_errors=True)
    small, real = (4, {"bert": REAL["bert"]}) if quick else (SMALL, REAL)
    one = _zoo(folder / "one.yaml", small, real, ("onnxruntime",))
    three = _zoo(folder / "three.yaml", small, real, TARGETS)
    jobs = small + len(real)
    alone = _built(one, folder / "one-worker", workers=1)
    both = _built(one, folder / "two-workers", workers=2)
    detail = f"{both:.1f} s against {alone:.1f} s for {jobs} models, no bundle yet"
    yield Figure("two workers over one", both / alone, "x", TWO_WORKERS_BOUND, detail)
    again = [_built(one, folder / "two-workers", workers=2) for _ in range(3 if quick else 9)]
    seconds = sorted(again)
    detail = f"median of {len(again)}, fastest {seconds[0]:.3g} s; {jobs} bundles"
    yield Figure("nothing changed", median(seconds), "s", NO_CHANGE_BOUND, detail)
    peak, limit = _peak(folder / "two-workers"), 2 << 30
    yield Figure("memory of a worker over its limit", peak / limit, "x", 1.0, f"{peak / 1e6:.0f} MB of {MEMORY}")
    all_three = _built(three, folder / "three-targets", workers=2)
    detail = f"{', '.join(TARGETS)}: {all_three:.1f} s against {both:.1f} s, two workers"
    yield Figure("three targets over one", all_three / both, "x", THREE_TARGETS_BOUND, detail)
    ray = _built(one, folder / "ray", workers=2, more=("--engine", "ray"))
    detail = f"{ray:.1f} s against {both:.1f} s, the cluster's start and end included"
    yield Figure("Ray on this machine over the local engine", ray / both, "x", RAY_BOUND, detail)


def _zoo(file: Path, small: int, real: dict[str, Path], targets: Sequence[str]) -> Path:
    """The zoo's file, with small models that differ in weights and real ones where they are."""
    for number in range(small):
        path = file.parent / "models" / f"small{number:03}.onnx"
        if not path.exists():
            saved(perceptron(number), path)
    models = {path.stem: path for path in sorted((file.parent / "models").glob("*.onnx"))} | real
    entries: list[dict[str, Any]] = [
        {
            "name": name,
            "path": str(path),
            "options": {f"{end}-shapes": SIZES.get(name, "x:2x16") for end in ("min", "opt", "max")},
        }
        for name, path in models.items()
    ]
    file.write_text(json.dumps({"defaults": {"targets": list(targets)}, "models": entries}))
    return file


def _built(zoo: Path, folder: Path, *, workers: int, more: Sequence[str] = ()) -> float:
    """Seconds of a build. Nobody watches it meanwhile: there would be a third at work."""
    flags = ["--workers", str(workers), "--memory", MEMORY, *more]
    command = [sys.executable, "-m", "compiler.cli.main", "zoo", "build", str(zoo), "-o", str(folder), *flags]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    began = time.perf_counter()
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return seconds


def _peak(folder: Path) -> int:
    """The most memory that a worker held, of all jobs of all builds."""
    with closing(sqlite3.connect(folder / "zoo.sqlite")) as database:
        (found,) = database.execute("SELECT max(peak_bytes) FROM results").fetchone()
        return int(found)
