"""What a compilation costs: seconds of the whole command, and memory at its peak."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench.cases import BUILD, bert_base, bert_base_in_one_file, resnet50
from tests.bench.figures import Figure
from tests.bench.timing import command, median_seconds, unspool

COLD_BOUND = 15.0
NO_CHANGE_BOUND = 1.0
MEMORY_BOUND = 3.0

_IMPORTS = "import compiler.backend, compiler.emit_onnx, compiler.frontend, onnxruntime, torch.onnx"


def compile_times(*, quick: bool) -> Iterator[Figure]:
    """light_resnet50 with all its weights, where there is no bundle yet and where nothing changed."""
    model, bundle = resnet50(), BUILD / "cold" / "resnet50"
    cold = []
    for _ in range(1 if quick else 3):
        shutil.rmtree(bundle, ignore_errors=True)
        cold.append(unspool("compile", model, "-o", bundle))
    again = [unspool("compile", model, "-o", bundle) for _ in range(3 if quick else 7)]
    many = f"median of {len(cold)}" if len(cold) > 1 else "once"
    yield Figure("compile", "light_resnet50, no bundle yet", median_seconds(cold), "s", COLD_BOUND, many)
    what = "light_resnet50, bundle up to date"
    yield Figure("compile", what, median_seconds(again), "s", NO_CHANGE_BOUND, f"median of {len(again)}")


def compile_memory(*, quick: bool) -> Iterator[Figure]:
    """The largest resident set of a compilation of BERT-base, over the bytes of its weights."""
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
        yield Figure("compile", f"BERT-base, peak memory, {form}", peak / weights, "x", MEMORY_BOUND, detail)


def _mb(count: int) -> str:
    return f"{count / 1e6:.0f} MB"
