"""The files that a builder left of an engine, put into a bundle."""

from __future__ import annotations

from artifacts.bundle_writer import BundleWriter
from artifacts.manifest import EngineEntry
from compiler.targets.target import Made


def with_plan(name: str, engine: EngineEntry, made: Made, writer: BundleWriter) -> EngineEntry:
    """The entry of an engine after what became of it, whose files are written."""
    stem = f"engines/{name}"
    if made.plan is not None:
        writer.add(f"{stem}.plan", made.plan)
    if made.layers is not None:
        writer.add(f"{stem}.layers.json", made.layers.encode())
    return engine.model_copy(
        update={
            "plan": None if made.plan is None else f"{stem}.plan",
            "build": made.build,
            "status": made.status,
            "needs": made.needs,
            "runs_on": made.runs_on,
            "weights": made.weights,
        }
    )
