"""What a builder of plans is told beside the graph. With it a plan can be made of an engine's source alone."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from artifacts.dtype import DType
from artifacts.noun import Noun

Shape = tuple[Annotated[int, Field(ge=0)], ...]


class Sizes(Noun):
    """The smallest, usual and largest shape of an input: as many dimensions each, and no size grows smaller."""

    least: Shape
    usual: Shape
    most: Shape

    @model_validator(mode="after")
    def _grow(self) -> Sizes:
        if not len(self.least) == len(self.usual) == len(self.most):
            raise ValueError("shapes of one input have as many dimensions each")
        if any(not a <= b <= c for a, b, c in zip(self.least, self.usual, self.most, strict=True)):
            raise ValueError(f"sizes do not grow from {self.least} over {self.usual} to {self.most}")
        return self


Profile = dict[Annotated[str, Field(min_length=1)], Sizes]
"""An optimization profile: the sizes that an engine is built for, by input. Inputs without symbols are left out."""

HardwareCompatibility = Literal["none", "ampere-plus", "same-compute-capability"]
"""On which GPUs a plan of TensorRT's loads: on ones as the one that it was built on, on all from Ampere on, or on all
of the same compute capability."""


PlanWeights = Literal["embedded", "refit", "stripped"]
"""Where the weights of a plan are: in it; in it, and replaced from the shards when it is loaded; or only there."""


class BuilderOptions(Noun):
    """How a builder works. Each is left to the builder where it is not said.

    With `tf32` products of float32 may round what they take to 10 bits. `optimization_level` is how hard it looks for
    fast kernels, from 0 to 5; with `version_compatible` later versions load the plan as well.
    """

    weights: PlanWeights = "embedded"
    tf32: bool = False

    optimization_level: Annotated[int, Field(ge=0, le=5)] | None = None
    version_compatible: bool = False
    hardware_compatibility: HardwareCompatibility = "none"


class PlanBuild(Noun):
    """What a plan is built for: element types that the graph computes in, compute capabilities, and profiles.

    A capability is written sm89 for 8.9; none leaves it to the GPU that the plan is built on.
    """

    dtypes: tuple[DType, ...]
    capabilities: tuple[Annotated[str, Field(pattern=r"^sm[1-9][0-9]{1,2}$")], ...] = ()
    profiles: tuple[Profile, ...] = ()
    options: BuilderOptions = BuilderOptions()
