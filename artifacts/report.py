"""build.json: how a build went. It differs from build to build, so nothing that runs a bundle reads it."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field

from artifacts.canonical import canonical_json
from artifacts.manifest import Access
from artifacts.noun import Noun
from artifacts.schedule import State
from artifacts.tensorrt_plan_contents import PlanContents
from artifacts.tolerances import Comparison
from artifacts.weights import Size

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Measure = Annotated[float, Field(ge=0, allow_inf_nan=False)] | None
"""A measured difference; None stands for infinity, which JSON does not have."""


class StageTime(Noun):
    """Wall-clock time of one stage or pass."""

    name: str
    seconds: Seconds


class Machine(Noun):
    """Where the build ran: operating system, instruction set, Python, logical processors."""

    system: str
    architecture: str
    python: str
    processors: Annotated[int, Field(ge=1)]


class OutputNumerics(Noun):
    """How far one output was from the source model's after a pass or stage, at most, over the samples.

    See `tolerances.Comparison`.
    """

    model: str
    after: str
    output: str
    max_abs: Measure
    max_rel: Measure
    required: Measure
    passed: bool

    @classmethod
    def of(cls, model: str, after: str, output: str, *comparisons: Comparison) -> OutputNumerics:
        """The entry for the comparisons of one output, at least one."""
        return cls(
            model=model,
            after=after,
            output=output,
            max_abs=_finite(max(found.max_abs for found in comparisons)),
            max_rel=_finite(max(found.max_rel for found in comparisons)),
            required=_finite(max(found.required for found in comparisons)),
            passed=all(found.passed for found in comparisons),
        )


class Work(Noun):
    """What calls of functions do, counted from their graphs.

    `flops` are operations of products, convolutions and attention, two for a multiplication with its
    addition; `elements` is what everything else computes; `instructions` are operations of the graph. `weight_bytes`
    and `cache_bytes` are read, and of a cache what is written as well.
    """

    flops: Size = 0
    elements: Size = 0
    instructions: Size = 0
    weight_bytes: Size = 0
    cache_bytes: Size = 0

    def __add__(self, other: Work) -> Work:
        return Work(**{name: value + getattr(other, name) for name, value in self})


class DecodeCost(Noun):
    """What it costs one row to decode `tokens` tokens in one form, whatever the form that the bundle has.

    `encoder` is done once, and is nothing where every step computes it again; `steps` is the sum over positions.
    `inputs` are the shapes that the request has.
    """

    model: str
    state: State
    tokens: Annotated[int, Field(ge=1)]
    inputs: dict[str, tuple[int, ...]]
    encoder: Work
    steps: Work

    @property
    def total(self) -> Work:
        """Encoder and steps."""
        return self.encoder + self.steps


class Movement(Noun):
    """What the operators of a function that only move elements move in one call, after a stage or pass.

    `operators` counts them, views among them; `bytes` are read and written, at the sizes of the model's first sample.
    """

    function: str
    after: str
    operators: Size
    bytes: Size


class EngineSize(Noun):
    """Bytes of an engine's files, without the weights that it refers to; `plan` says what those of its plan are.

    `instructions` counts those of a module of HLO that compute something.
    """

    name: str
    source_bytes: Size
    plan_bytes: Size | None = None
    instructions: Size | None = None
    plan: PlanContents | None = None


class LayerSensitivity(Noun):
    """What it costs to compute one layer in fewer bits, and whether it was kept from that.

    `layer` names its nodes, each as FUNCTION/NODE. `error` is the share of the largest element that an output is off
    by if this layer alone has fewer bits.
    """

    layer: str
    error: Measure
    kept: bool


class DerivedWeights(Noun):
    """Tensors that are not the bytes of a source tensor, for one reason; `names` has a few of them.

    The reason is the pass that made them, "convert" for what the converter computed from the graph, or an operator.
    """

    reason: str
    tensors: Size
    bytes: Size
    names: tuple[str, ...] = ()


class WeightsReport(Noun):
    """What the weight store saved, and what in it is not the source's.

    `source_bytes` counts every tensor as the source files hold it, `unique_bytes` every content that functions use,
    once. `merged` are the source tensors that need no bytes of their own, because another one has them. Contents that
    are no source tensor's bytes are `derived_bytes` of the unique ones. `computed_at_open` is not stored: it is what
    the functions compute of weights alone, which a runtime may do when it opens an engine, once for each place.
    """

    source_bytes: Size
    unique_bytes: Size
    merged: Size
    derived_bytes: Size = 0
    derived: tuple[DerivedWeights, ...] = ()
    computed_at_open: tuple[DerivedWeights, ...] = ()


class WeightCost(Noun):
    """What it costs to serve a model whose engines take their weights in one way.

    `milliseconds` is the median of answering its samples, all of them; `own_bytes` what opening the engines adds to a
    process that no other can share, None where the system does not tell.
    """

    model: str
    way: Access
    milliseconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    own_bytes: Size | None

    def __str__(self) -> str:
        memory = "an unknown number of bytes" if self.own_bytes is None else f"{self.own_bytes / 1e6:.1f} MB"
        return f"{memory} and takes {self.milliseconds:.2f} ms {self.way}"


class BucketChoice(Noun):
    """The sizes of `symbols` that buckets of a model were chosen to have, by how often each size is asked for.

    `shares` are of the requests, by bucket. `padding` is the expected share of what is computed that stands for nothing
    a request has, `cost` that of a request, in sizes or in the unit of the costs given; both also with one bucket.
    """

    model: str
    symbols: tuple[str, ...]
    sizes: tuple[Size, ...]
    shares: tuple[Annotated[float, Field(ge=0)], ...]
    padding: float
    padding_of_one: float
    cost: float
    cost_of_one: float

    def __str__(self) -> str:
        sizes = ", ".join(map(str, self.sizes))
        return (
            f"buckets of {', '.join(self.symbols)}: {sizes}. Of what is computed {self.padding:.1%} is expected to be "
            f"padding, and would be {self.padding_of_one:.1%} with one bucket"
        )


class BuildReport(Noun):
    """The content of build.json. `started` is UTC in ISO 8601; `notices` are what the user should know.

    `key` is a digest of all that went into the build: a build that would have the same key is up to date. `external`
    names the external files that each model had, by the model and the role of its part.
    """

    started: str
    seconds: Seconds
    machine: Machine
    key: str = ""
    external: dict[str, dict[str, tuple[str, ...]]] = Field(default_factory=dict)
    stages: tuple[StageTime, ...] = ()
    numerics: tuple[OutputNumerics, ...] = ()
    engines: tuple[EngineSize, ...] = ()
    weights: WeightsReport | None = None
    sensitivity: tuple[LayerSensitivity, ...] = ()
    decode_costs: tuple[DecodeCost, ...] = ()
    weight_costs: tuple[WeightCost, ...] = ()
    movements: tuple[Movement, ...] = ()
    buckets: tuple[BucketChoice, ...] = ()
    log: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        """The bytes of build.json."""
        return canonical_json(self.model_dump(mode="json"))


def _finite(value: float) -> Measure:
    return value if math.isfinite(value) else None
