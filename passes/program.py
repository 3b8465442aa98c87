"""The Program: what every pass takes and gives back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

import passes.dialect  # noqa: F401  # registers the operators that bodies may call
from artifacts.padding import Padding
from artifacts.samples import Arrays, Sample
from artifacts.schedule import Schedule
from artifacts.spec import Signature
from artifacts.weights import WeightRef, WeightStore

WEIGHT_KINDS = frozenset({InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR})


@dataclass(frozen=True, eq=False)
class Function:
    """A computation with named inputs and outputs, and no weights of its own.

    `body` holds ATen and `unspool::` operators; its weights are placeholders whose tensors are fake, and
    `weights` binds each of those placeholders to a content in the program's store. `symbols` gives the source's
    name of each size symbol of the body ("s27" -> "seq"); `time` holds the names among them that count tokens.
    `sources` names, for a node of the body, the node of the source model that it came from.
    """

    name: str
    signature: Signature
    body: ExportedProgram
    weights: Mapping[str, WeightRef]
    symbols: Mapping[str, str] = field(default_factory=dict)
    time: frozenset[str] = frozenset()
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def graph(self) -> torch.fx.Graph:
        graph: torch.fx.Graph = self.body.graph
        return graph

    @property
    def input_nodes(self) -> tuple[torch.fx.Node, ...]:
        """Placeholders of the signature's inputs, in its order."""
        return tuple(node for node in self.placeholders if node.name not in self.weights)

    @property
    def weight_nodes(self) -> tuple[torch.fx.Node, ...]:
        """Placeholders that are bound to weights."""
        return tuple(node for node in self.placeholders if node.name in self.weights)

    @property
    def placeholders(self) -> tuple[torch.fx.Node, ...]:
        return tuple(node for node in self.graph.nodes if node.op == "placeholder")

    @property
    def results(self) -> tuple[torch.fx.node.Argument, ...]:
        """What the output node returns, in the signature's order."""
        output = next(iter(reversed(self.graph.nodes)))
        return tuple(output.args[0])

    @property
    def computations(self) -> Iterator[torch.fx.Node]:
        """Nodes that compute something, in order."""
        return (node for node in self.graph.nodes if node.op == "call_function")


@dataclass(frozen=True, eq=False)
class SizeBucket:
    """Sizes that engines are made for, by symbol of the model's signature, and a request of exactly these sizes."""

    sizes: Mapping[str, int]
    sample: Sample


@dataclass(frozen=True, eq=False)
class SizeBuckets:
    """The sizes that a model's engines are made for, the cheapest first, and how smaller requests are padded to them.

    `requests` are of sizes in between, with the source's answers to them as they are. `padding.exact` says that those
    have to agree, until it is known whether they do.
    """

    each: tuple[SizeBucket, ...]
    padding: Padding
    requests: tuple[Sample, ...]


@dataclass(frozen=True, eq=False)
class Model:
    """A source model inside a program: its own signature, how it is now called, and samples to hold it to.

    `digest` is the SHA-256 of the source's graph and weights. `calibration` holds requests like those that will be
    made, the caller's inputs of each: passes that fix a range of values find it there, and in the samples' inputs if
    there are none. `buckets` are for targets whose engines take one size only.
    """

    signature: Signature
    schedule: Schedule
    digest: str
    samples: tuple[Sample, ...] = ()
    calibration: tuple[Arrays, ...] = ()
    buckets: SizeBuckets | None = None


@dataclass(frozen=True, eq=False)
class Program:
    """Functions over one set of weights, and for each source model the schedule that calls them."""

    functions: Mapping[str, Function]
    models: Mapping[str, Model]
    weights: WeightStore

    def __post_init__(self) -> None:
        object.__setattr__(self, "functions", MappingProxyType(dict(self.functions)))
        object.__setattr__(self, "models", MappingProxyType(dict(self.models)))
        misnamed = [name for name, function in self.functions.items() if function.name != name]
        if misnamed:
            raise ValueError(f"functions {misnamed} go by another name than their own")
        for name, model in self.models.items():
            missing = [f for f in model.schedule.functions if f not in self.functions]
            if missing:
                raise ValueError(f"the schedule of {name!r} calls {missing}, which the program does not have")

    def with_functions(self, functions: Mapping[str, Function], weights: WeightStore | None = None) -> Program:
        """The program with some functions replaced, and with another weight store if one is given."""
        return replace(
            self,
            functions={**self.functions, **functions},
            weights=self.weights if weights is None else weights,
        )

    def weight_users(self) -> Counter[str]:
        """How many placeholders of the functions that something uses are bound to each content."""
        nodes = ((f, node) for f in self.functions.values() for node in f.weight_nodes if node.users)
        return Counter(function.weights[node.name].digest for function, node in nodes)

    @property
    def digests(self) -> frozenset[str]:
        """The contents that the functions refer to."""
        return frozenset(ref.digest for function in self.functions.values() for ref in function.weights.values())

    def merged(self, other: Program) -> Program:
        """Two programs as one, weights shared. Raises ValueError if a function or model name occurs twice."""
        twice = (set(self.functions) & set(other.functions)) | (set(self.models) & set(other.models))
        if twice:
            raise ValueError(f"names in both programs: {sorted(twice)}")
        return Program(
            {**self.functions, **other.functions},
            {**self.models, **other.models},
            self.weights.merged(other.weights),
        )
