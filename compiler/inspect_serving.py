"""How a bundle is served, as a table."""

from __future__ import annotations

from artifacts.cores import cores_text
from artifacts.neuron_serving import NeuronServing
from compiler.sections import Section


def serving_section(serving: NeuronServing) -> Section:
    """How many processes serve it, and what their environment has."""
    cores = cores_text(serving.visible_cores) or serving.num_cores or serving.cores_each or "all"
    rows = [["instances", str(serving.instances)], ["NeuronCores", str(cores)]]
    rows += [] if serving.loading is None else [["traced models load", serving.loading]]
    rows += sorted([name, value] for name, value in serving.settings.items())
    for number, settings in enumerate(serving.own_settings):
        rows += [[f"{name}, instance {number}", value] for name, value in settings.items()]
    return Section("Serving", ["", ""], rows)
