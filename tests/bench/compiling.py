"""What a compilation costs: seconds of the whole command, and memory at its peak."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median

from tests.bench.cases import BUILD, bert_base, bert_base_in_one_file, resnet50, shared_backbones
from tests.bench.figures import Figure
from tests.support.commands import Finished, command, unspool
from tests.support.moderation import BASE, unique_bytes

COLD_BOUND = 15.0
NO_CHANGE_BOUND = 1.0
MEMORY_BOUND = 3.0
SHARED_BOUND = 1.5

_IMPORTS = "import compiler.backend, compiler.emit_onnx, compiler.frontend, onnxruntime, torch.onnx"


def compile_times(*, quick: bool) -> Iterator[Figure]:
    """light_resnet50 with all its weights, where there is no bundle yet and where nothing changed."""
    model, bundle = resnet50(), BUILD / "cold" / "resnet50"
    cold = []
    for _ in range(1 if quick else 5):
        shutil.rmtree(bundle, ignore_errors=True)
        cold.append(unspool("compile", model, "-o", bundle))
    again = [unspool("compile", model, "-o", bundle) for _ in range(3 if quick else 15)]
    yield _fastest("light_resnet50, no bundle yet", cold, COLD_BOUND)
    yield _fastest("light_resnet50, bundle up to date", again, NO_CHANGE_BOUND)


def _fastest(what: str, runs: Sequence[Finished], bound: float) -> Figure:
    """The run that waited least: these are seconds, not a ratio, and all that others do on the machine adds to them."""
    seconds = sorted(run.seconds for run in runs)
    processor = min(run.processor_seconds for run in runs)
    detail = f"fastest of {len(runs)}, median {median(seconds):.3g} s; {processor:.3g} s of processor time"
    return Figure(what, seconds[0], "s", bound, detail)


def compile_memory(*, quick: bool) -> Iterator[Figure]:
    """The most memory that a compilation of BERT-base, and one of five models, takes, over the bytes of its weights.

    Of what the five have in common one copy counts.
    """
    if quick:
        return
    imports = command("-c", _IMPORTS).peak_bytes
    forms: tuple[tuple[str, Callable[[], Path]], ...] = (
        ("weights beside the model file", bert_base),
        ("weights inside it", bert_base_in_one_file),
    )
    for form, file in forms:
        path, bundle = file(), BUILD / "cold" / "bert_base"
        weights = sum(part.stat().st_size for part in path.parent.glob(f"{path.name}*"))
        peak = unspool("compile", path, "-o", bundle, "--force").peak_bytes
        detail = f"{_mb(peak)} for {_mb(weights)} of weights; the imports alone take {_mb(imports)}"
        yield Figure(f"BERT-base, peak memory, {form}", peak / weights, "x", MEMORY_BOUND, detail)
    files, unique = shared_backbones(), unique_bytes(BASE)
    peak = unspool("compile", *files, "-o", BUILD / "cold" / "moderation", "--force").peak_bytes
    held = sum(file.stat().st_size for file in files)
    detail = f"{_mb(peak)} for {_mb(unique)} of different weights in {_mb(held)} of files"
    yield Figure("five models on two backbones, peak memory", peak / unique, "x", SHARED_BOUND, detail)


def _mb(count: int) -> str:
    return f"{count / 1e6:.0f} MB"
