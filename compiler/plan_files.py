"""What a builder left of an engine: its files in a bundle, their sizes, and how far the engine got."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from artifacts.bundle_writer import BundleWriter
from artifacts.engine_sources import HLO_SUFFIX
from artifacts.errors import Problem, TargetError
from artifacts.manifest import STATUSES, EngineEntry, Manifest, Status
from artifacts.report import EngineSize
from compiler.targets.target import Made
from compiler.tensorrt.contents import contents_of


def layers_path(name: str) -> str:
    """Where the builder's account of an engine's layers is, if it gave one."""
    return f"engines/{name}.layers.json"


def with_plan(name: str, engine: EngineEntry, made: Made, writer: BundleWriter) -> EngineEntry:
    """The entry of an engine after what became of it, whose files are written."""
    plan = f"engines/{name}{made.suffix}"
    if made.plan is not None:
        writer.add(plan, made.plan)
    if made.layers is not None:
        writer.add(layers_path(name), made.layers.encode())
    return engine.model_copy(
        update={
            "plan": None if made.plan is None else plan,
            "build": made.build,
            "status": made.status,
            "needs": made.needs,
            "runs_on": made.runs_on,
            "weights": made.weights,
        }
    )


def require_status(manifest: Manifest, wanted: Status | None) -> None:
    """Raise TargetError with every engine whose status is below the wanted one."""
    if wanted is None:
        return
    TargetError.raise_if(
        Problem(
            "target",
            f"engine {name}",
            f"is {engine.status}, and {wanted} is required",
            "; ".join(f"needs {need.what}: {need.command}" for need in engine.needs),
        )
        for name, engine in manifest.engines.items()
        if STATUSES.index(engine.status) < STATUSES.index(wanted)
    )


def engine_sizes(
    root: Path, manifest: Manifest, counted: Mapping[str, int | None] | None = None
) -> tuple[EngineSize, ...]:
    """Bytes of each engine's own files, and what they are in a plan.

    `counted` are the instructions of sources, by engine, where they are known: who only compiles them has no XLA.
    """
    return tuple(
        EngineSize(
            name=name,
            source_bytes=manifest.files[engine.source].bytes,
            plan_bytes=manifest.files[engine.plan].bytes if engine.plan else None,
            plan=contents_of(root, manifest, engine),
            instructions=_instructions(root / engine.source) if counted is None else counted.get(name),
        )
        for name, engine in manifest.engines.items()
    )


def _instructions(source: Path) -> int | None:
    """How many instructions a source has, if it is a module of HLO."""
    if not source.name.endswith(HLO_SUFFIX):
        return None
    from compiler.hlo.instructions import count_instructions

    return count_instructions(source.read_bytes())
