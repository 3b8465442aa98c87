"""How engines for AWS Neuron are served: on which NeuronCores, and by how many processes.

Names of variables, their grammar and defaults are those of AWS's documents "Neuron Runtime configuration" and
"Reference: Neuron Runtime environment variables". A server reads this, so it needs pydantic and nothing else.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from artifacts.cores import MOST_CORES, cores_text, shares
from artifacts.noun import Noun

VISIBLE_CORES = "NEURON_RT_VISIBLE_CORES"
NUM_CORES = "NEURON_RT_NUM_CORES"
EXEC_TIMEOUT = "NEURON_RT_EXEC_TIMEOUT"
SHARED_WEIGHTS = "NEURON_RT_MULTI_INSTANCE_SHARED_WEIGHTS"

Loading = Literal["lazy", "async"]
"""When a traced model goes to its cores: when it is first called, or while the program goes on. Whoever traces it asks
for that before it is saved ("PyTorch NeuronX Lazy and Asynchronous Loading API")."""


class NeuronServing(Noun):
    """Processes that serve one bundle, and what each of them has of the host.

    `instances` are processes. `num_cores` is how many NeuronCores all of them have, and the runtime chooses which;
    `visible_cores` names them. Without both a single process has every core of the host, as the runtime does it, and
    several have one each. A process with several cores can hold the model once on each of them, and those share one
    copy of the weights with `shared_weights`; None shares where there are several. Processes do not share.
    `exec_timeout` is how many seconds one execution may take; None leaves it to the runtime. `loading` is for models
    that torch-neuronx traces; None loads them at once.
    """

    instances: Annotated[int, Field(ge=1, le=MOST_CORES)] = 1
    num_cores: Annotated[int, Field(ge=1, le=MOST_CORES)] | None = None
    visible_cores: tuple[Annotated[int, Field(ge=0, lt=MOST_CORES)], ...] = ()
    exec_timeout: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    shared_weights: bool | None = None
    loading: Loading | None = None

    @model_validator(mode="after")
    def _consistent(self) -> NeuronServing:
        if self.num_cores is not None and self.visible_cores:
            raise ValueError("cores are given by number and by count: the runtime would not look at the count")
        if any(a >= b for a, b in zip(self.visible_cores, self.visible_cores[1:], strict=False)):
            raise ValueError("visible cores do not go up")
        cores = len(self.visible_cores) or self.num_cores
        if cores is not None and cores % self.instances:
            raise ValueError(f"{cores} cores have no equal shares for {self.instances} instances")
        if self.shared_weights and self.cores_each == 1:
            raise ValueError("weights are shared by the cores of one process, and each process has one core")
        return self

    @property
    def cores_each(self) -> int | None:
        """NeuronCores of each process; None for all that there are."""
        cores = len(self.visible_cores) or self.num_cores
        if cores is None:
            return None if self.instances == 1 else 1
        return cores // self.instances

    @property
    def settings(self) -> dict[str, str]:
        """Environment variables that are alike for all instances; all that there are if there is one."""
        shared = self.cores_each != 1 if self.shared_weights is None else self.shared_weights
        found = {SHARED_WEIGHTS: "1" if shared else "0"}
        if self.exec_timeout is not None:
            found[EXEC_TIMEOUT] = str(self.exec_timeout)
        if self.visible_cores and self.instances == 1:
            found[VISIBLE_CORES] = cores_text(self.visible_cores)
        elif self.cores_each is not None and not self.visible_cores:
            found[NUM_CORES] = str(self.cores_each)
        return found

    @property
    def own_settings(self) -> list[dict[str, str]]:
        """For each instance the variables that only it has: its share of the visible cores."""
        if not self.visible_cores or self.instances == 1:
            return [{} for _ in range(self.instances)]
        return [{VISIBLE_CORES: cores_text(share)} for share in shares(self.visible_cores, self.instances)]
