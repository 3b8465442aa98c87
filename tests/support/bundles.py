"""Small bundles made by hand: tiny ONNX engines, weights in shards, a manifest. No compiler is involved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, TensorProto, helper

from artifacts.bundle import Bundle
from artifacts.bundle_writer import BundleWriter, write_bundle
from artifacts.canonical import sha256_bytes
from artifacts.dtype import DType
from artifacts.manifest import EngineEntry, Manifest, ModelEntry, SampleFiles, Scalar, WeightAccess, Weights
from artifacts.report import BuildReport, Machine
from artifacts.schedule import Schedule, Single
from artifacts.shards import ShardIndex, write_shards
from artifacts.spec import Dim, Signature, TensorSpec
from artifacts.weights import WeightRef, WeightStore

Array = npt.NDArray[Any]

REPORT = BuildReport(
    started="2026-01-01T00:00:00Z",
    seconds=0.5,
    machine=Machine(system="Linux", architecture="x86_64", python="3.11.0", processors=2),
)

ACCESS = WeightAccess(
    default="prepacked", ways=dict.fromkeys(("prepacked", "mapped", "cached"), "nothing that a test would miss")
)

SAMPLE = SampleFiles(inputs="samples/inputs.npz", outputs="samples/outputs.npz")

_ELEMENT_TYPES = {
    DType.BOOL: TensorProto.BOOL,
    DType.INT32: TensorProto.INT32,
    DType.INT64: TensorProto.INT64,
    DType.BFLOAT16: TensorProto.BFLOAT16,
    DType.FLOAT16: TensorProto.FLOAT16,
    DType.FLOAT32: TensorProto.FLOAT,
    DType.FLOAT64: TensorProto.DOUBLE,
}


def spec(name: str, dtype: DType, *shape: Dim) -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape)


@dataclass(frozen=True)
class Graph:
    """An ONNX graph whose initializers will live in the weight store."""

    nodes: Sequence[NodeProto]
    signature: Signature
    weights: Mapping[str, Array] = field(default_factory=dict)
    session: Mapping[str, Scalar] = field(default_factory=lambda: {"intra_op_num_threads": 1})
    kind: str = "onnxruntime"

    def to_bytes(self, bindings: Mapping[str, WeightRef], index: ShardIndex) -> bytes:
        initializers = []
        for name, ref in bindings.items():
            place = index.locate(ref)
            tensor = TensorProto(name=name, data_type=_ELEMENT_TYPES[ref.dtype], dims=ref.shape)
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", place.path), ("offset", place.offset), ("length", place.nbytes)):
                tensor.external_data.add(key=key, value=str(value))
            initializers.append(tensor)
        graph = helper.make_graph(
            list(self.nodes),
            "engine",
            [_value_info(s) for s in self.signature.inputs],
            [_value_info(s) for s in self.signature.outputs],
            initializers,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        data: bytes = model.SerializeToString()
        return data


@dataclass(frozen=True)
class Model:
    """A model: its schedule, the source's signature, and the graph of each function."""

    schedule: Schedule
    signature: Signature
    functions: Mapping[str, Graph]


def single(graph: Graph) -> Model:
    """A model that is one call of one graph."""
    return Model(Single(function="main"), graph.signature, {"main": graph})


def fill(writer: BundleWriter, models: Mapping[str, Model], shard_bytes: int = 1 << 30) -> Manifest:
    """Write engines, weights and a sample into the staging folder; the manifest that goes with them."""
    graphs = {f"{name}-{f}": g for name, model in models.items() for f, g in model.functions.items()}
    store = WeightStore()
    bindings = {}
    for name, graph in graphs.items():
        store, refs = store.with_tensors((array, None) for array in graph.weights.values())
        bindings[name] = dict(zip(graph.weights, refs, strict=True))
    everything = [ref for refs in bindings.values() for ref in refs.values()]
    index = write_shards(store, everything, writer.root, shard_bytes)
    for name, graph in graphs.items():
        writer.add(f"engines/{name}.onnx", graph.to_bytes(bindings[name], index))
    for path in SAMPLE.paths:
        writer.add(path, path.encode())
    return Manifest(
        unspool="0.1.0",
        models={
            name: ModelEntry(
                source=sha256_bytes(name.encode()),
                signature=model.signature,
                schedule=model.schedule,
                functions={function: (f"{name}-{function}",) for function in model.functions},
                samples=(SAMPLE,),
            )
            for name, model in models.items()
        },
        engines={
            name: EngineEntry(
                kind=graph.kind,
                target="onnxruntime",
                signature=graph.signature,
                source=f"engines/{name}.onnx",
                status="verified",
                runs_on=("cpu",),
                session=dict(graph.session),
                bindings=bindings[name],
                weights=ACCESS,
            )
            for name, graph in graphs.items()
        },
        weights=Weights(layout="store", shards=index.shards),
        files=writer.inventory(),
    )


def write(destination: Path, models: Mapping[str, Model], *, force: bool = False) -> Bundle:
    """A whole bundle at `destination`."""
    with write_bundle(destination, force=force) as writer:
        return writer.commit(fill(writer, models), REPORT)


def linear(columns: int = 3, seed: int = 0) -> Model:
    """y = x @ w + b: x float32 [batch, 4], y float32 [batch, columns]."""
    weights = np.random.default_rng(seed).normal(size=(5, columns)).astype(np.float32)
    signature = Signature(
        inputs=(spec("x", DType.FLOAT32, "batch", 4),), outputs=(spec("y", DType.FLOAT32, "batch", columns),)
    )
    nodes = [helper.make_node("MatMul", ["x", "w"], ["xw"]), helper.make_node("Add", ["xw", "b"], ["y"])]
    return single(Graph(nodes, signature, {"w": weights[:4], "b": weights[4]}))


def _value_info(spec: TensorSpec) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(spec.name, _ELEMENT_TYPES[spec.dtype], list(spec.shape))
