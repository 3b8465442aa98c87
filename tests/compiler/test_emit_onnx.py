from __future__ import annotations

import gc
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper

from artifacts.bundle import Bundle
from artifacts.canonical import sha256_bytes
from artifacts.errors import TargetError
from artifacts.shards import read_shard
from compiler.emit_onnx import emit_onnx
from compiler.node_origins import SOURCE_PROPERTY
from passes.onnx_to_torch.convert import Converted
from tests.support.emitting import Emitted, converted, emitted
from tests.support.models import (
    DATA,
    PROJECT,
    Array,
    BundleCache,
    floats,
    graph_model,
    ints,
    normal,
    perceptron,
)
from tests.support.onnx_ops import reference

BERT = "bert_tiny/model_dynamo"
X: Mapping[str, Array] = {"x": normal(3, 16, seed=9)}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Converted:
    return converted(perceptron(), tmp_path_factory.mktemp("small"), X)


@pytest.fixture(scope="module")
def engine(small: Converted, tmp_path_factory: pytest.TempPathFactory) -> Emitted:
    return emitted(small, tmp_path_factory.mktemp("engine"))


@pytest.fixture(scope="module")
def bert(cache: BundleCache) -> Emitted:
    """A real model: the engine of its bundle."""
    bundle = Bundle.open(cache.export(BERT), verify=False)
    (engine,) = bundle.manifest.engines.values()
    return Emitted(bundle.root, (bundle.root / engine.source).read_bytes(), engine.bindings)


def through(model: ModelProto, folder: Path, inputs: Mapping[str, Array]) -> Emitted:
    """The engine of a model, after a check that it computes what ONNX's reference evaluator computes."""
    engine = emitted(converted(model, folder, inputs), folder)
    names = [value.name for value in model.graph.output]
    results = engine.run(inputs)
    assert list(results) == names
    for name, expected in zip(names, reference(model, [inputs[v.name] for v in model.graph.input]), strict=True):
        np.testing.assert_allclose(results[name], expected, rtol=1e-5, atol=1e-6)
    return engine


def operators(engine: Emitted) -> Counter[str]:
    return Counter(node.op_type for node in engine.model.graph.node)


def test_weights_lie_outside_at_offsets_that_hold_their_content(bert: Emitted) -> None:
    seen = 0
    for tensor in bert.model.graph.initializer:
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        place = {entry.key: entry.value for entry in tensor.external_data}
        data = (bert.root / place["location"]).read_bytes()
        data = data[int(place["offset"]) : int(place["offset"]) + int(place["length"])]
        ref = bert.external[tensor.name]
        assert ref.offset == 0
        assert sha256_bytes(data) == ref.digest
        assert tuple(tensor.dims) == ref.shape
        assert not tensor.raw_data
        seen += 1
    assert seen == len(bert.external) > 10


def test_no_weight_is_folded_or_transposed_into_a_copy(bert: Emitted) -> None:
    source = onnx.load(DATA / f"{BERT}.onnx")
    contents = {numpy_helper.to_array(tensor).tobytes() for tensor in source.graph.initializer}
    (shard,) = (bert.root / "weights").iterdir()
    tensors, store = read_shard(bert.root, f"weights/{shard.name}")
    for tensor in tensors:
        assert store.blobs[tensor.digest].tobytes() in contents
    inside = [t for t in bert.model.graph.initializer if t.data_location != TensorProto.EXTERNAL]
    inside += [a.t for node in bert.model.graph.node for a in node.attribute if a.HasField("t")]
    assert sum(len(tensor.SerializeToString()) for tensor in inside) < 10_000


def test_a_tied_weight_is_one_initializer(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("Transpose", ["table"], ["head"], perm=[1, 0]),
        helper.make_node("MatMul", ["rows", "head"], ["scores"]),
    ]
    model = graph_model(nodes, [ints("ids", "n")], [floats("scores", "n", 20)], {"table": normal(20, 6)})
    engine = through(model, tmp_path, {"ids": np.arange(5)})
    (initializer,) = (t for t in engine.model.graph.initializer if t.data_location == TensorProto.EXTERNAL)
    assert initializer.name == "table"


def test_small_weights_lie_inside(small: Converted, engine: Emitted, tmp_path: Path) -> None:
    inline = emitted(small, tmp_path, inline_bytes=256)
    assert set(inline.external) == {"first", "second"}
    (bias,) = (tensor for tensor in inline.model.graph.initializer if tensor.name == "bias")
    np.testing.assert_array_equal(numpy_helper.to_array(bias), normal(32, seed=1))
    np.testing.assert_array_equal(inline.run(X)["y"], engine.run(X)["y"])


def test_an_unused_weight_is_dropped(tmp_path: Path) -> None:
    model = perceptron()
    model.graph.initializer.append(numpy_helper.from_array(normal(99), "unused"))
    engine = through(model, tmp_path, X)
    assert {tensor.name for tensor in engine.model.graph.initializer} == {"first", "bias", "second"}


def test_nothing_of_this_machine_is_inside(bert: Emitted) -> None:
    for text in (str(PROJECT), str(Path.home()), "site-packages", ".py", "File ", "line ", "stack_trace"):
        assert text.encode() not in bert.data
    model = bert.model
    assert (model.producer_name, model.producer_version, model.doc_string) == ("unspool", "", "")
    messages = [model, model.graph, *model.graph.input, *model.graph.output, *model.graph.value_info]
    messages += [*model.graph.initializer, *model.functions]
    for message in messages:
        assert not message.metadata_props
        assert not message.doc_string
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    assert {entry.key for node in nodes for entry in node.metadata_props} <= {SOURCE_PROPERTY}
    assert not any(node.doc_string for node in nodes)


def test_nodes_name_the_source_nodes_that_they_came_from(bert: Emitted) -> None:
    source = onnx.load(DATA / f"{BERT}.onnx")
    labels = {node.name for node in source.graph.node}
    named = [entry.value for node in bert.model.graph.node for entry in node.metadata_props]
    assert set(named) <= labels
    assert len(named) > 0.9 * len(bert.model.graph.node)


def test_two_emissions_are_the_same_bytes(small: Converted, engine: Emitted, tmp_path: Path) -> None:
    assert emitted(small, tmp_path).data == engine.data


def test_names_inside_say_the_operator_and_its_number(bert: Emitted) -> None:
    numbers: Counter[str] = Counter()
    for node in bert.model.graph.node:
        assert node.name == f"{node.op_type}_{numbers[node.op_type]}"
        numbers[node.op_type] += 1


def test_sizes_go_by_the_sources_symbols(bert: Emitted) -> None:
    """torch numbers its symbols anew in every process: one of its names would differ between two compilations."""
    graph = bert.model.graph
    dims = [dim for value in (*graph.input, *graph.output) for dim in value.type.tensor_type.shape.dim]
    assert {dim.dim_param or dim.dim_value for dim in dims} == {"batch", "seq", 3}
    inside = [dim for value in graph.value_info for dim in value.type.tensor_type.shape.dim]
    assert not [dim.dim_param for dim in inside if re.fullmatch(r".*\b[su]\d+\b.*", dim.dim_param)]


def test_outputs_that_are_inputs_weights_or_each_other(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Identity", ["x"], ["same"]),
        helper.make_node("Identity", ["x"], ["same_again"]),
        helper.make_node("Relu", ["x"], ["positive"]),
        helper.make_node("Relu", ["x"], ["positive_again"]),
        helper.make_node("Identity", ["positive"], ["positive_too"]),
        helper.make_node("Add", ["x", "used"], ["sum"]),
    ]
    names = ("same", "same_again", "x", "positive", "positive_again", "positive_too", "sum")
    outputs = [*(floats(name, "batch", 16) for name in names), floats("used", 16), floats("unused", 70, 2)]
    weights = {"used": normal(16), "unused": normal(70, 2)}
    through(graph_model(nodes, [floats("x", "batch", 16)], outputs, weights), tmp_path, X)


def test_a_graph_without_nodes(tmp_path: Path) -> None:
    engine = through(graph_model([], [floats("x", "batch", 16)], [floats("x", "batch", 16)]), tmp_path, X)
    assert not engine.model.graph.node


def test_names_of_the_source_that_are_like_generated_ones(tmp_path: Path) -> None:
    model = perceptron()
    renamed = {
        "x": "MatMul_0",
        "first": "MatMul_0_1",
        "product": "MatMul_1",
        "bias": "constant_0",
        "sum": "Relu_0",
        "hidden": "main",
        "second": "Add_0_1",
        "y": "Add_0",
    }
    for node in model.graph.node:
        node.input[:] = [renamed[value] for value in node.input]
        node.output[:] = [renamed[value] for value in node.output]
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        value.name = renamed[value.name]
    engine = through(model, tmp_path, {"MatMul_0": X["x"]})
    made = [output for node in engine.model.graph.node for output in node.output]
    made += [value.name for value in (*engine.model.graph.input, *engine.model.graph.initializer)]
    assert len(set(made)) == len(made)


def test_names_that_are_no_identifiers(tmp_path: Path) -> None:
    names = ["gpu_0/data:0", "input.1", "élan", "a b", "x;y", "1", "class", "s0"]
    nodes = [helper.make_node("Sum", [*names, "w/weight:0"], ["out/put:0"])]
    inputs = [floats(name, "n", 16) for name in names]
    model = graph_model(nodes, inputs, [floats("out/put:0", "n", 16)], {"w/weight:0": normal(16)})
    engine = through(model, tmp_path, {name: normal(3, 16, seed=seed) for seed, name in enumerate(names)})
    assert [tensor.name for tensor in engine.model.graph.initializer] == ["w/weight:0"]


def test_a_global_average_comes_back_as_one_node(tmp_path: Path) -> None:
    ranks = {"a": ("n", 3, "l"), "b": ("n", 3, "h", "w"), "c": ("n", 3, "d", "h2", "w2")}
    model = graph_model(
        [helper.make_node("GlobalAveragePool", [name], [f"{name}_mean"]) for name in ranks],
        [floats(name, *shape) for name, shape in ranks.items()],
        [floats(f"{name}_mean", "n", 3, *(1,) * (len(shape) - 2)) for name, shape in ranks.items()],
    )
    engine = through(model, tmp_path, {"a": normal(2, 3, 7), "b": normal(2, 3, 4, 5), "c": normal(2, 3, 4, 5, 6)})
    assert operators(engine) == {"GlobalAveragePool": 3}
    others = {"a": normal(3, 3, 9), "b": normal(3, 3, 2, 3), "c": normal(3, 3, 3, 2, 5)}
    for name, mean in engine.run(others).items():
        array = others[name.removesuffix("_mean")]
        expected = array.mean(tuple(range(2, array.ndim)), keepdims=True)
        np.testing.assert_allclose(mean, expected, rtol=1e-4, atol=1e-6)


def test_a_linear_layer_is_no_more_nodes_than_it_was(engine: Emitted) -> None:
    assert sum(operators(engine).values()) <= len(perceptron().graph.node)


def test_what_onnx_cannot_express_is_named(small: Converted, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch.onnx

    def fail(*_: object, **__: object) -> None:
        raise torch.onnx.errors.OnnxExporterError("no decomposition\nmore of it") from ValueError(
            "aten.strange.default"
        )

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(TargetError) as caught:
        emit_onnx(small.function)
    (problem,) = caught.value.problems
    assert problem.subject == "main"
    assert "aten.strange.default" in problem.message
    assert "\n" not in problem.message


def test_a_body_holds_nothing_of_the_trace_that_it_was_made_from(small: Converted) -> None:
    """Bodies are kept while a bundle is made, so what torch traced would add up over its models."""

    def graphs() -> int:
        gc.collect()
        return sum(type(found) is torch.fx.Graph for found in gc.get_objects())

    kept = [emit_onnx(small.function)]
    before = graphs()
    kept.append(emit_onnx(small.function))
    assert graphs() == before
