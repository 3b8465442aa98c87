"""Where the weights of plans are, and what two openings of one cannot share."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from artifacts.manifest import WeightAccess
from artifacts.plan_build import PlanBuild, PlanWeights

_ON_THE_GPU = "all weights: each process has them on the GPU for itself"

_WAYS: Mapping[PlanWeights, str] = MappingProxyType(
    {
        "embedded": f"{_ON_THE_GPU}, from the plan, which has a copy of its own beside the shards",
        "refit": f"{_ON_THE_GPU}, from the shards, after those of the plan, which has a copy of its own",
        "stripped": f"{_ON_THE_GPU}, from the shards: the plan has none",
    }
)


def weight_access(build: PlanBuild) -> WeightAccess:
    """How a plan that is built like this takes its weights; there is one way for each plan."""
    way = build.options.weights
    return WeightAccess(default=way, ways={way: _WAYS[way]})
