"""Models to compile: files that the project carries, small graphs made here, and bundles compiled once a run."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from artifacts.bundle import Bundle
from artifacts.canonical import sha256_file
from artifacts.manifest import MANIFEST_FILE, FileEntry, Weights
from artifacts.samples import read_arrays
from compiler.compile import compile_bundle
from compiler.options import CompileOptions, ModelFile
from compiler.source_runner import SourceRunner
from tests.support.decoders import EMBED, ENCODE, VOCABULARY

if TYPE_CHECKING:
    import pytest

Array = npt.NDArray[Any]

TESTS = Path(__file__).resolve().parents[1]
PROJECT = TESTS.parent
DATA = TESTS / "data"
OCR = PROJECT / "examples" / "ocr"

EXPORTS = ("bert_tiny/model", "bert_tiny/model_dynamo", "ocr_conformer/model", "ocr_conformer/model_dynamo")
"""The models under tests/data that come with inputs and outputs of their own."""


def known_io(export: str) -> Mapping[str, Array]:
    """Inputs and outputs of an export, as the PyTorch module computed them."""
    return read_arrays(DATA / Path(export).parent / "test_io.npz")


def source_outputs(model: Path, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """What a model file answers, in ONNX Runtime and without an optimiser."""
    return dict(SourceRunner(model).run(inputs))


@dataclass(frozen=True)
class BundleCache:
    """Bundles that are compiled once in a test run, by whichever worker asks first. Read-only for tests."""

    root: Path

    @classmethod
    def of(cls, factory: pytest.TempPathFactory) -> BundleCache:
        """The cache of this run: the workers of pytest-xdist share the folder above their own."""
        base = factory.getbasetemp()
        root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "compiled"
        root.mkdir(exist_ok=True)
        return cls(root)

    def get(self, name: str, make: Callable[[Path], object]) -> Path:
        """The bundle called `name`; `make` is given the folder to put it at if it is not there yet."""
        with (self.root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            bundle = self.root / name
            if not bundle.exists():
                make(bundle)
        return bundle

    def compiled(self, name: str, path: Path) -> Path:
        """The bundle of one model file, compiled with the default options."""
        return self.get(name, lambda bundle: compile_bundle([ModelFile(name, path)], bundle, CompileOptions()))

    def export(self, export: str) -> Path:
        """The bundle of one of EXPORTS."""
        return self.compiled(export.replace("/", "-"), DATA / f"{export}.onnx")

    def ocr(self) -> Path:
        """The bundle of the trained reader of lines, which decodes."""
        return self.compiled("ocr", OCR / "model.onnx")


def largest_error(bundle: Path) -> float:
    """The largest absolute difference from the source that the compilation saw in any output, after any step."""
    report = Bundle.open(bundle, verify=False).report()
    assert report is not None
    assert report.numerics
    return max(found.max_abs for found in report.numerics if found.max_abs is not None)


def graph_model(
    nodes: Sequence[NodeProto],
    inputs: Sequence[ValueInfoProto],
    outputs: Sequence[ValueInfoProto],
    weights: Mapping[str, Array] | None = None,
    opset: int = 17,
) -> ModelProto:
    """A model of these nodes; `weights` become its initializers."""
    initializers = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(list(nodes), "graph", list(inputs), list(outputs), initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def floats(name: str, *shape: int | str) -> ValueInfoProto:
    """An input or output float32 of this shape."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


def ints(name: str, *shape: int | str) -> ValueInfoProto:
    """An input or output int64 of this shape."""
    return helper.make_tensor_value_info(name, TensorProto.INT64, list(shape))


def normal(*shape: int, seed: int = 0) -> Array:
    """Seeded float32 from the standard normal distribution."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def perceptron(seed: int = 0, shared: Array | None = None) -> ModelProto:
    """y = relu(x @ first + bias) @ second: x float32 [batch, 16], y float32 [batch, 8].

    `shared` takes the place of `first`, float32 [16, 32].
    """
    first = normal(16, 32, seed=seed) if shared is None else shared
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "second"], ["y"]),
    ]
    weights = {"first": first, "bias": normal(32, seed=seed + 1), "second": normal(32, 8, seed=seed + 2)}
    return graph_model(nodes, [floats("x", "batch", 16)], [floats("y", "batch", 8)], weights)


TOY_HEAD: Array = -np.ascontiguousarray(EMBED.T)


def toy_decoder() -> ModelProto:
    """A decoder in one graph: x float32 [batch, 4], tokens int64 [batch, t], logits float32 [batch, t, 11].

    The scores of a position come from the sum of the embeddings so far, so every token matters; what was there
    before scores lower, so that tokens differ.
    """
    nodes = [
        helper.make_node("Gather", ["embed", "tokens"], ["rows"]),
        helper.make_node("CumSum", ["rows", "time"], ["sums"]),
        helper.make_node("MatMul", ["sums", "head"], ["scores"]),
        helper.make_node("MatMul", ["x", "encode"], ["encoded"]),
        helper.make_node("Unsqueeze", ["encoded", "axes"], ["memory"]),
        helper.make_node("Add", ["scores", "memory"], ["logits"]),
    ]
    weights: dict[str, Array] = {
        "embed": EMBED,
        "head": TOY_HEAD,
        "encode": ENCODE,
        "time": np.array(1, np.int64),
        "axes": np.array([1], np.int64),
    }
    inputs = [floats("x", "batch", 4), ints("tokens", "batch", "t")]
    return graph_model(nodes, inputs, [floats("logits", "batch", "t", VOCABULARY)], weights)


def forced_toy(folder: Path, length: int) -> Path:
    """The toy decoder, with settings beside it: so many tokens, 7 the first of them, and never 3, 4 or 5."""
    ends = {"decoder_start_token_id": 0, "eos_token_id": 2, "pad_token_id": 1, "max_new_tokens": length}
    choice = {"forced_bos_token_id": 7, "suppress_tokens": [3, 4, 5]}
    (folder / "generation_config.json").write_text(json.dumps({**ends, **choice}))
    return saved(toy_decoder(), folder / "toy.onnx")


def toy_decoding(x: Array, start: int, eos: Sequence[int], limit: int) -> list[list[int]]:
    """What the toy decoder generates greedily for x [batch, 4], in numpy."""
    rows = []
    for memory in x @ ENCODE:
        sums, token, made = np.zeros(EMBED.shape[1], np.float32), start, list[int]()
        while len(made) < limit and (not made or made[-1] not in eos):
            sums = sums + EMBED[token]
            token = int((sums @ TOY_HEAD + memory).argmax())
            made.append(token)
        rows.append(made)
    return rows


def saved(model: ModelProto, path: Path) -> Path:
    """The path, after the model was written there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def scale_weights(bundle: Path, factor: float) -> None:
    """Scale every stored weight of a bundle and make its digests agree: not a bad disk, a bad compiler."""
    opened = Bundle.open(bundle)
    (shard,) = opened.manifest.weights.shards
    path, begin = bundle / shard.path, opened.index().tensors[0].offset
    content = path.read_bytes()
    path.write_bytes(content[:begin] + (np.frombuffer(content[begin:], "<f4") * np.float32(factor)).tobytes())
    entry = FileEntry(sha256=sha256_file(path), bytes=shard.bytes)
    changed = shard.model_copy(update={"sha256": entry.sha256})
    manifest = opened.manifest.model_copy(
        update={
            "files": {**opened.manifest.files, shard.path: entry},
            "weights": Weights(layout="store", shards=(changed,)),
        }
    )
    (bundle / MANIFEST_FILE).write_bytes(manifest.to_bytes())
