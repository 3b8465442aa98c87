"""What is in the plans of a bundle's engines, and what a user should know of it."""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from pathlib import Path

from artifacts.manifest import EngineEntry, Manifest
from artifacts.report import EngineSize
from artifacts.shards import mapped
from artifacts.tensorrt_plan import KIND
from artifacts.tensorrt_plan_contents import PlanContents, plan_contents
from artifacts.weights import WeightStore

MUCH_LARGER = 1.3
"""Over its weights, what a plan may take before a notice says what takes the rest."""


def contents_of(root: Path, manifest: Manifest, engine: EngineEntry) -> PlanContents | None:
    """What the plan of an engine of the bundle at `root` holds; None where it has none of a kind that is known."""
    if engine.plan is None or engine.kind != KIND:
        return None
    store = mapped(WeightStore(), manifest.weights.shards, root)
    weights = {name: store.array(ref) for name, ref in engine.bindings.items()}
    with (root / engine.plan).open("rb") as file:
        plan = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return plan_contents(plan, weights)


def plan_notices(sizes: Iterable[EngineSize]) -> list[str]:
    """What takes the place in plans that are much larger than their weights: a sentence for each."""
    return [
        f"engine {size.name}: its plan has {_megabytes(size.plan.bytes)} for {_megabytes(size.plan.weights.bytes)} of "
        f"weights: {_what_takes_most(size.plan)}"
        for size in sizes
        if size.plan is not None and size.plan.bytes > MUCH_LARGER * size.plan.weights.bytes
    ]


def _what_takes_most(contents: PlanContents) -> str:
    kernels, weights = contents.kernels, contents.weights
    repeated = weights.held_bytes - weights.once_bytes
    if repeated > kernels.bytes:
        return f"it holds {_megabytes(repeated)} of them again"
    texts = f"{_megabytes(kernels.bytes)} are source texts of {kernels.texts} kernels"
    return f"{texts}, which the runtime compiles on the GPU"


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
