"""Whatever the exporter and the schedule, a bundle has one copy of each tensor, and an engine none of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import pytest

from artifacts.bundle import Bundle
from artifacts.shards import read_shard
from compiler.compile import compile_bundle
from compiler.options import CacheMode, CompileOptions, ModelFile, ScheduleName
from compiler.targets.onnxruntime import INLINE_BYTES
from tests.support.decode_forms import DEFAULT, FORMS, DecodeForm
from tests.support.models import DATA, OCR, Array, BundleCache, saved

LARGE = 1024
"""Bytes: smaller contents may lie in larger ones by chance, and a reference takes about as much."""


def tensors_of(bundle: Bundle) -> list[Array]:
    """Every stored tensor, in the type and shape in which its shard shows it."""
    arrays = []
    for shard in bundle.manifest.weights.shards:
        tensors, store = read_shard(bundle.root, shard.path)
        arrays += [store.blobs[t.digest].view(t.dtype.numpy).reshape(t.shape) for t in tensors]
    return arrays


def own_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """What a graph and those inside it hold themselves."""
    yield from (tensor for tensor in graph.initializer if not tensor.external_data)
    yield from tensors_in(graph.node)


def tensors_in(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for attribute in (attribute for node in nodes for attribute in node.attribute):
        if attribute.HasField("t"):
            yield attribute.t
        yield from own_tensors(attribute.g)


def assert_one_copy(path: Path) -> None:
    bundle = Bundle.open(path)
    arrays = [array for array in tensors_of(bundle) if array.nbytes > LARGE]
    contents = sorted((array.tobytes() for array in arrays), key=len)
    for number, content in enumerate(contents):
        assert not any(content in other for other in contents[number + 1 :])
    turned = {np.ascontiguousarray(array.T).tobytes() for array in arrays if array.ndim == 2 and min(array.shape) > 1}
    assert turned.isdisjoint(contents)
    for engine in bundle.manifest.engines.values():
        model = onnx.load(path / engine.source, load_external_data=False)
        held = [*own_tensors(model.graph), *(t for f in model.functions for t in tensors_in(f.node))]
        assert max(onnx.numpy_helper.to_array(tensor).nbytes for tensor in held) <= INLINE_BYTES


def tied(model: onnx.ModelProto) -> onnx.ModelProto:
    """A T5 whose encoder, decoder and head have one table, as an exporter writes it: twice as it is, once turned."""
    named = {tensor.name: tensor for tensor in model.graph.initializer}
    table = onnx.numpy_helper.to_array(named["model.encoder.embed_tokens.weight"])
    (head,) = [name for name, tensor in named.items() if tuple(tensor.dims) == table.shape[::-1]]
    named["model.decoder.embed_tokens.weight"].raw_data = table.tobytes()
    named[head].raw_data = np.ascontiguousarray(table.T).tobytes()
    return model


# Compiling a decoder takes half a minute on a busy machine.
@pytest.mark.slow
@pytest.mark.parametrize("export", ["model", "model_dynamo"])
def test_a_table_that_is_tied_three_times_is_stored_once(tmp_path: Path, export: str) -> None:
    source = DATA / "t5_tiny"
    for settings in source.glob("*.json"):
        shutil.copy(settings, tmp_path)
    path = saved(tied(onnx.load(source / f"{export}.onnx")), tmp_path / "t5.onnx")
    compiled = compile_bundle([ModelFile("t5", path)], tmp_path / "bundle", CompileOptions())
    assert_one_copy(tmp_path / "bundle")
    assert [array.shape for array in tensors_of(compiled.bundle) if 200 in array.shape] == [(200, 64)]


# Compiling a form of a whole decoder takes half a minute.
@pytest.mark.slow
def test_partitions_of_many_steps_share_what_they_are_made_of(cache: BundleCache) -> None:
    form = DecodeForm(ScheduleName.PARTITIONED, CacheMode.ON)
    path = form.bundle(cache, OCR / "model.onnx")
    manifest = Bundle.open(path).manifest
    (model,) = manifest.models.values()
    assert "until" in str(model.functions)
    assert_one_copy(path)


def test_the_default_form_has_one_copy(cache: BundleCache) -> None:
    assert_one_copy(DEFAULT.bundle(cache, DATA / "t5_tiny" / "model.onnx"))


@pytest.mark.slow
@pytest.mark.parametrize("form", [form for form in FORMS if form != DEFAULT], ids=str)
def test_every_form_has_one_copy(cache: BundleCache, form: DecodeForm) -> None:
    assert_one_copy(form.bundle(cache, DATA / "t5_tiny" / "model.onnx"))
