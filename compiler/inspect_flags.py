"""How the engines of a bundle are compiled where AWS Neuron's compiler is, as `inspect` shows it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from artifacts.manifest import EngineEntry
from artifacts.neuron_options import NeuronOptions
from compiler.neuron_flags import written
from compiler.sections import Section


def flags_sections(engines: Mapping[str, EngineEntry]) -> list[Section]:
    """The flags of `unspool emit` that each engine's build is, in one section; none without such engines."""
    rows = [
        [name, shlex.join(written(engine.build))]
        for name, engine in engines.items()
        if isinstance(engine.build, NeuronOptions)
    ]
    return [Section("Compiled for AWS Neuron with", ["engine", "flags"], rows)] if rows else []
