from __future__ import annotations

import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from onnx import TensorProto, helper

from artifacts.bundle import Bundle
from artifacts.dtype import DType
from artifacts.engines import EngineRunner, engine_kinds, open_engine
from artifacts.errors import BundleError, MissingToolError, RunError
from artifacts.manifest import EngineEntry, Scalar
from artifacts.spec import Signature, TensorSpec
from tests.support import bundles
from tests.support.bundles import Graph, spec

Array = npt.NDArray[Any]

X = np.arange(8, dtype=np.float32).reshape(2, 4)


@pytest.fixture
def runner(linear_bundle: Bundle) -> Iterator[EngineRunner]:
    opened = open_engine(linear_bundle.root, linear_bundle.manifest.engines["one-main"])
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def expected() -> Array:
    weights = bundles.linear(seed=1).functions["main"].weights
    result: Array = X @ weights["w"] + weights["b"]
    return result


def with_session(bundle: Bundle, options: dict[str, Scalar]) -> EngineEntry:
    return bundle.manifest.engines["one-main"].model_copy(update={"session": options})


def close_to(actual: Array, expected: Array) -> None:
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_the_kinds_are_the_modules_of_the_package() -> None:
    assert "onnxruntime" in engine_kinds()
    assert "engine" not in engine_kinds()


@pytest.mark.parametrize("kind", ["unheard-of", "engine", "runner", "os", "onnxruntime.x"])
def test_an_unknown_kind_is_refused_with_the_known_ones(linear_bundle: Bundle, kind: str) -> None:
    entry = linear_bundle.manifest.engines["one-main"].model_copy(update={"kind": kind})
    with pytest.raises(BundleError, match="cannot run") as caught:
        open_engine(linear_bundle.root, entry)
    assert "onnxruntime" in caught.value.problems[0].hint


def test_a_missing_runtime_says_what_to_install(linear_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingToolError, match="is not installed") as caught:
        open_engine(linear_bundle.root, linear_bundle.manifest.engines["one-main"])
    assert caught.value.problems[0].hint == 'pip install "unspool[onnxruntime]"'


def test_weights_come_from_the_shard_by_offset(runner: EngineRunner, expected: Array) -> None:
    close_to(runner.call({"x": X})["y"], expected)


def test_buffers_go_in_and_out_without_a_copy(runner: EngineRunner, expected: Array) -> None:
    x = X.copy()
    buffer = runner.upload(runner.signature.input("x"), x)
    assert (buffer.shape, buffer.dtype) == ((2, 4), DType.FLOAT32)
    assert np.shares_memory(runner.download(buffer), x)
    outputs = runner.run({"x": buffer})
    assert (outputs["y"].shape, outputs["y"].dtype) == ((2, 3), DType.FLOAT32)
    close_to(runner.download(outputs["y"]), expected)


def test_an_output_outlives_its_run(runner: EngineRunner, expected: Array) -> None:
    first = runner.download(runner.run({"x": runner.upload(runner.signature.input("x"), X)})["y"])
    for _ in range(5):
        runner.run({"x": runner.upload(runner.signature.input("x"), np.zeros_like(X))})
    close_to(first, expected)


def test_a_bound_call_reads_and_writes_the_same_buffers(runner: EngineRunner, expected: Array) -> None:
    ins, outs = runner.signature.input("x"), runner.signature.output("y")
    buffers = [runner.alloc(ins, (2, 4)), runner.alloc(outs, (2, 3))]
    call = runner.bind({"x": buffers[0]}, {"y": buffers[1]})
    x, y = (runner.download(buffer) for buffer in buffers)
    alive = [weakref.ref(buffer) for buffer in buffers]
    buffers.clear()
    assert all(reference() for reference in alive), "nothing but the call keeps the buffers alive"
    assert not y.any()
    x[:] = X
    call()
    close_to(y, expected)
    x[:] = 2 * X
    call()
    close_to(y - expected, X @ bundles.linear(seed=1).functions["main"].weights["w"])


def test_alloc_gives_zeros_and_takes_empty_shapes(runner: EngineRunner) -> None:
    for shape in ((3, 4), (0, 4)):
        buffer = runner.alloc(runner.signature.input("x"), shape)
        assert buffer.shape == shape
        assert not runner.download(buffer).any()
    assert runner.download(runner.run({"x": buffer})["y"]).shape == (0, 3)


def test_what_the_runtime_refuses_is_a_run_error(runner: EngineRunner) -> None:
    wrong = np.zeros((2, 5), np.float32)
    with pytest.raises(RunError, match="ONNX Runtime"):
        runner.call({"x": wrong})
    with pytest.raises(RunError, match="ONNX Runtime"):
        runner.run({"x": runner.upload(runner.signature.input("x"), wrong)})
    with pytest.raises(RunError, match="ONNX Runtime"):
        runner.run({"absent": runner.upload(runner.signature.input("x"), X)})
    with pytest.raises(RunError, match="ONNX Runtime"):
        runner.call({})


def test_a_buffer_of_another_kind_is_refused(runner: EngineRunner) -> None:
    class Foreign:
        dtype, shape = DType.FLOAT32, (2, 4)

    with pytest.raises(RunError, match="Foreign of another engine"):
        runner.run({"x": Foreign()})


def test_a_closed_engine_says_so(runner: EngineRunner) -> None:
    runner.close()
    with pytest.raises(RunError, match="closed"):
        runner.call({"x": X})
    runner.close()


def test_it_runs_in_several_threads_at_once(runner: EngineRunner, expected: Array) -> None:
    results: list[Array] = []
    threads = [
        threading.Thread(target=lambda: results.extend(runner.call({"x": X})["y"] for _ in range(20))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 60
    for result in results:
        close_to(result, expected)


OPTIONS: dict[str, Scalar] = {
    "intra_op_num_threads": 1,
    "inter_op_num_threads": 1,
    "graph_optimization_level": "basic",
    "execution_mode": "sequential",
    "enable_mem_reuse": False,
    "enable_mem_pattern": False,
    "enable_cpu_mem_arena": False,
    "session.intra_op.allow_spinning": "0",
}


def test_options_of_the_manifest_reach_the_runtime(
    linear_bundle: Bundle, expected: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    session = onnxruntime.InferenceSession

    def record(path: str, options: Any, **rest: Any) -> Any:
        seen.append(options)
        return session(path, options, **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", record)
    runner = open_engine(linear_bundle.root, with_session(linear_bundle, OPTIONS), threads=2)
    close_to(runner.call({"x": X})["y"], expected)
    (options,) = seen
    assert options.intra_op_num_threads == 2, "the caller's threads win"
    assert options.inter_op_num_threads == 1
    assert options.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    assert options.execution_mode == onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    assert (options.enable_mem_reuse, options.enable_mem_pattern, options.enable_cpu_mem_arena) == (False,) * 3
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


@pytest.mark.parametrize("level", ["disable", "basic", "extended", "layout", "all"])
def test_every_optimization_level_is_known(linear_bundle: Bundle, expected: Array, level: str) -> None:
    runner = open_engine(linear_bundle.root, with_session(linear_bundle, {"graph_optimization_level": level}))
    close_to(runner.call({"x": X})["y"], expected)


def test_unknown_options_are_refused_all_at_once(linear_bundle: Bundle, tmp_path: Path) -> None:
    wrong: dict[str, Scalar] = {
        "intra_op_num_threads": True,
        "inter_op_num_threads": "1",
        "graph_optimization_level": "most",
        "optimized_model_filepath": str(tmp_path / "written"),
        "session.optimized_model_external_initializers_file_name": "written",
        "session.model_external_initializers_file_folder_path": "/",
        "session.intra_op.allow_spinning": 0,
        "log_severity_level": 0,
    }
    with pytest.raises(BundleError) as caught:
        open_engine(linear_bundle.root, with_session(linear_bundle, wrong))
    assert len(caught.value.problems) == len(wrong)
    assert not list(tmp_path.iterdir())


def test_an_engine_that_does_not_have_the_manifests_names_is_refused(linear_bundle: Bundle) -> None:
    other = linear_bundle.manifest.engines["one-main"].model_copy(
        update={"signature": Signature(inputs=(spec("z", DType.FLOAT32, 1),), outputs=(spec("q", DType.INT8, 1),))}
    )
    with pytest.raises(BundleError) as caught:
        open_engine(linear_bundle.root, other)
    assert len(caught.value.problems) == 2


def test_an_engine_that_is_no_onnx_file_is_a_bundle_error(bundle_copy: Path, linear_bundle: Bundle) -> None:
    entry = linear_bundle.manifest.engines["one-main"]
    (bundle_copy / entry.source).write_bytes(b"nonsense")
    with pytest.raises(BundleError, match="cannot open it"):
        open_engine(bundle_copy, entry)


def test_an_engine_cannot_map_files_outside_its_bundle(tmp_path: Path) -> None:
    bundle = bundles.write(tmp_path / "b", {"m": bundles.linear()})
    entry = bundle.manifest.engines["m-main"]
    (shard,) = bundle.manifest.weights.shards
    engine = bundle.root / entry.source
    # The secret has a name as long as the shard's, so that the protobuf's lengths stay right.
    secret = "../" + "s" * (len(shard.path) - 3)
    (bundle.root / secret).write_bytes((bundle.root / shard.path).read_bytes())
    engine.write_bytes(engine.read_bytes().replace(shard.path.encode(), secret.encode()))
    with pytest.raises(BundleError, match="cannot open it"):
        open_engine(bundle.root, entry)


@pytest.fixture(scope="module")
def low_precision(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """double = x + x in float32, and x itself, for x bfloat16."""
    signature = Signature(
        inputs=(TensorSpec(name="x", dtype=DType.BFLOAT16, shape=("n",), carrier=DType.UINT16),),
        outputs=(
            TensorSpec(name="same", dtype=DType.BFLOAT16, shape=("n",), carrier=DType.UINT16),
            spec("double", DType.FLOAT32, "n"),
        ),
    )
    nodes = [
        helper.make_node("Identity", ["x"], ["same"]),
        helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["wide", "wide"], ["double"]),
    ]
    models = {"m": bundles.single(Graph(nodes, signature))}
    return bundles.write(tmp_path_factory.mktemp("low") / "b", models)


@pytest.mark.parametrize("count", [3, 0])
def test_low_precision_tensors_travel_as_their_carrier(low_precision: Bundle, count: int) -> None:
    runner = open_engine(low_precision.root, low_precision.manifest.engines["m-main"])
    values = np.array([1.5, -2.0, 3.0][:count], ml_dtypes.bfloat16)
    outputs = runner.call({"x": values.view(np.uint16)})
    np.testing.assert_array_equal(outputs["same"], values.view(np.uint16))
    np.testing.assert_array_equal(outputs["double"], 2 * values.astype(np.float32))
    assert outputs["same"].dtype == np.uint16
    buffers = runner.run({"x": runner.upload(runner.signature.input("x"), values.view(np.uint16))})
    assert buffers["same"].dtype is DType.BFLOAT16


def test_a_call_costs_little_more_than_the_runtimes_own(linear_bundle: Bundle) -> None:
    entry = linear_bundle.manifest.engines["one-main"]
    runner = open_engine(linear_bundle.root, entry)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    folder = "session.model_external_initializers_file_folder_path"
    options.add_session_config_entry(folder, str(linear_bundle.root))
    bare = onnxruntime.InferenceSession(
        str(linear_bundle.root / entry.source), options, providers=["CPUExecutionProvider"]
    )

    def quickest(call: Callable[[], object]) -> float:
        times = []
        for _ in range(300):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        return min(times)

    overhead = quickest(lambda: runner.call({"x": X})) - quickest(lambda: bare.run(None, {"x": X}))
    assert overhead < 50e-6
