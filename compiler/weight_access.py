"""How the engines of a bundle take their weights if nobody asks for another way: as told, or by measurement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from artifacts.bundle import Bundle
from artifacts.errors import Problem, TargetError
from artifacts.manifest import Access, EngineEntry, Manifest
from artifacts.samples import Sample
from artifacts.weight_costs import weight_costs
from compiler.build_log import BuildLog
from compiler.options import WeightsName

AT_MOST = 1.05
"""How many times as long as prepacked weights mapped ones may take to be chosen."""


def with_access(engines: Mapping[str, EngineEntry], wanted: WeightsName | None) -> dict[str, EngineEntry]:
    """The engines with that default; with their target's own if there is no wish, or it is to be measured.

    Raises TargetError with every engine that cannot take its weights like this.
    """
    if wanted in {None, WeightsName.AUTO}:
        return dict(engines)
    way: Access = "mapped" if wanted == WeightsName.MAPPED else "prepacked"
    TargetError.raise_if(
        Problem(
            "options",
            f"engine {name}",
            f"cannot run with {way} weights",
            f"leave out --weights {wanted}; this engine takes them {', '.join(sorted(engine.weights.ways))}",
        )
        for name, engine in engines.items()
        if way not in engine.weights.ways
    )
    return {name: _by(engine, way) for name, engine in engines.items()}


def with_measured_access(
    bundle: Bundle, samples: Mapping[str, Sequence[Sample]], wanted: WeightsName | None, log: BuildLog
) -> Manifest:
    """The manifest in which engines of models that are as fast with mapped weights map them. Nothing unless `auto`.

    A model's engines are opened both ways and answer its samples; the log keeps the figures.
    """
    engines = dict(bundle.manifest.engines)
    if wanted == WeightsName.AUTO:
        for name, entry in bundle.manifest.models.items():
            own = entry.engines
            if not all({"mapped", "prepacked"} <= engines[engine].weights.ways.keys() for engine in own):
                log.notices.append(f"{name}: weights prepacked: not all of its engines can map them")
                continue
            with log.stage("weights", f"{name}, mapped and prepacked"):
                requests = [sample.inputs for sample in samples[name]]
                mapped, prepacked = weight_costs(bundle, name, ("mapped", "prepacked"), requests)
            log.weight_costs += (mapped, prepacked)
            way: Access = "mapped" if mapped.milliseconds <= AT_MOST * prepacked.milliseconds else "prepacked"
            log.notices.append(f"{name}: weights {way}; of its own it has {mapped}, {prepacked}")
            engines |= {engine: _by(engines[engine], way) for engine in own}
    return bundle.manifest.model_copy(update={"engines": engines})


def _by(engine: EngineEntry, way: Access) -> EngineEntry:
    return engine.model_copy(update={"weights": engine.weights.by(way)})
