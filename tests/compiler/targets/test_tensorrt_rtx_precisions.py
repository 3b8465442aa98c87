"""Plans that compute in fewer bits: built, and the graph that the builder was handed held to the source."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from artifacts.bundle import Bundle
from artifacts.checks import Tolerances
from artifacts.dtype import DType
from artifacts.plan_build import PlanBuild
from artifacts.runtime import Session
from artifacts.samples import archive_bytes, stored_samples
from artifacts.tensorrt_plan import read_header
from artifacts.verification import check_bundle
from compiler.compile import compile_bundle
from compiler.generation import TokenFlags
from compiler.options import CompileOptions, ModelFile, Precision, ScheduleName
from compiler.runnable import runnable
from compiler.shapes import Shapes
from tests.support.cli import unspool
from tests.support.light_networks import randomized
from tests.support.models import DATA, OCR, Array, BundleCache, saved
from tests.support.programs import normal, parsed

pytest.importorskip("tensorrt_rtx")

STORED = {
    Precision.BF16: (DType.BFLOAT16, 2),
    Precision.INT8: (DType.INT8, 1),
    Precision.FP8: (DType.FLOAT8_E4M3FN, 1),
}
"""The type that a weight is stored in, and its bytes an element."""

each_precision = pytest.mark.parametrize("precision", STORED)
SIZE = 96


def layers() -> onnx.ModelProto:
    return parsed(
        f"""g (float[n, {SIZE}] x) => (float[n, {SIZE}] y) {{
            a = MatMul (x, first)
            b = Add (a, bias)
            c = Relu (b)
            y = MatMul (c, second)
        }}""",
        first=normal(SIZE, SIZE, seed=1) / 10,
        bias=normal(SIZE, seed=2),
        second=normal(SIZE, SIZE, seed=3) / 10,
    )


def requests(folder: Path, **inputs: Array) -> Path:
    """A folder with one request to calibrate on."""
    folder.mkdir(parents=True)
    (folder / "request.npz").write_bytes(archive_bytes(inputs))
    return folder


def options(precision: Precision, calibration: Path, name: str = "", *shapes: tuple[int, ...]) -> CompileOptions:
    """For one GPU; `shapes` are the least, usual and largest of the input of that name."""
    sizes: list[Shapes] = [((name, shape),) for shape in shapes] or [(), (), ()]
    return CompileOptions(
        target="tensorrt-rtx",
        compute_capabilities=("sm89",),
        precision=precision,
        calibration=None if precision is Precision.BF16 else calibration,
        min_shapes=sizes[0],
        opt_shapes=sizes[1],
        max_shapes=sizes[2],
    )


def assert_built(bundle: Path, engines: int = 1) -> Bundle:
    """Every engine is a plan for what it was asked for, and the verdict is on what the builder was handed."""
    found = Bundle.open(bundle)  # which checks that nothing else lies there
    assert len(found.manifest.engines) == engines
    for engine in found.manifest.engines.values():
        assert engine.status == "built"
        assert engine.plan is not None
        data = (bundle / engine.plan).read_bytes()
        header = read_header(data, engine.plan)
        assert (header.capabilities, header.bytes) == (("sm89",), len(data))
    (verdicts,) = found.manifest.numerics.verdicts.values()
    assert [(verdict.compared, verdict.passed) for verdict in verdicts] == [
        ("conversion", True),
        ("passes", True),
        ("engine sources", True),
    ]
    return found


def stored(bundle: Bundle) -> Mapping[DType, int]:
    """Elements of the weights that engines hold by offset, by type."""
    refs = {ref for engine in bundle.manifest.engines.values() for ref in engine.bindings.values()}
    return {dtype: sum(ref.size for ref in refs if ref.dtype == dtype) for dtype in {ref.dtype for ref in refs}}


def small(precision: Precision, cache: BundleCache) -> Path:
    def make(path: Path) -> None:
        folder = path.with_name(f"{path.name}-model")
        model = saved(layers(), folder / "layers.onnx")
        calibration = requests(folder / "requests", x=normal(64, SIZE, seed=9))
        shapes = (1, SIZE), (4, SIZE), (8, SIZE)
        compile_bundle([ModelFile("layers", model)], path, options(precision, calibration, "x", *shapes))

    return cache.get(f"layers-rtx-{precision}", make)


@each_precision
def test_a_plan_is_built_of_weights_that_are_stored_in_its_type(precision: Precision, cache: BundleCache) -> None:
    bundle = assert_built(small(precision, cache))
    dtype, width = STORED[precision]
    assert stored(bundle)[dtype] == 2 * SIZE * SIZE
    (shard,) = bundle.manifest.weights.shards
    scales = 2 * SIZE * 4  # a bias is a part of that too, in place of scales
    assert 2 * SIZE * SIZE * width <= shard.bytes <= 2 * SIZE * SIZE * width + 2 * scales + 4096
    (engine,) = bundle.manifest.engines.values()
    assert isinstance(engine.build, PlanBuild)
    assert dtype in engine.build.dtypes


@each_precision
def test_a_bundle_is_verified_by_the_sources_of_its_plans(
    precision: Precision, cache: BundleCache, capsys: pytest.CaptureFixture[str]
) -> None:
    assert unspool(capsys, "verify", small(precision, cache)).status == 0


@pytest.mark.parametrize("precision", [Precision.INT8, Precision.FP8])
@pytest.mark.parametrize(("of_data", "factor"), [(True, 1 / 8), (False, 2)])
def test_a_scale_that_is_wrong_in_the_graph_fails_the_proof(
    precision: Precision, of_data: bool, factor: float, cache: BundleCache, tmp_path: Path
) -> None:
    root = tmp_path / "bundle"
    shutil.copytree(small(precision, cache), root)
    bundle = Bundle.open(root)
    (engine,) = bundle.manifest.engines.values()
    model = onnx.load(root / engine.source, load_external_data=False)
    numerics = bundle.manifest.numerics
    tolerances = Tolerances.recorded(numerics.tolerances, numerics.exact_tokens)

    def passes() -> bool:
        with runnable(bundle) as proof:
            return all(c.passed for c in check_bundle(proof, {"layers": stored_samples(bundle, "layers")}, tolerances))

    assert passes()
    codes = {node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    scales = [
        node.input[1]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and (node.input[0] in codes) == of_data
    ]
    (held,) = (tensor for tensor in model.graph.initializer if tensor.name == scales[0])
    held.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(held) * np.float32(factor), held.name))
    onnx.save(model, root / engine.source)
    assert not passes()


def test_auto_meets_a_tolerance_with_symmetric_codes(tmp_path: Path) -> None:
    model = saved(layers(), tmp_path / "layers.onnx")
    calibration = requests(tmp_path / "requests", x=normal(64, SIZE, seed=9))
    sizes = options(Precision.AUTO, calibration, "x", (1, SIZE), (4, SIZE), (8, SIZE))
    made = compile_bundle([ModelFile("layers", model)], tmp_path / "out", replace(sizes, tolerance=0.03))
    bundle = assert_built(tmp_path / "out")
    (step,) = (entry for entry in bundle.manifest.passes if entry.name == "quantize-static")
    assert (step.options["codes"], step.options["at_most"]) == ("int8", 0.03)
    assert len(made.report.sensitivity) == 2
    assert DType.INT8 in stored(bundle)


BERT = DATA / "bert_tiny" / "model_dynamo.onnx"


@pytest.mark.slow  # ten seconds each: a transformer is converted, and the builder looks for kernels
@each_precision
def test_a_transformer_is_built(precision: Precision, tmp_path: Path) -> None:
    ids = np.random.default_rng(0).integers(0, 50, (4, 32))
    ones = np.ones_like(ids)
    calibration = requests(tmp_path / "requests", input_ids=ids, attention_mask=ones, token_type_ids=np.zeros_like(ids))
    shapes = (1, 4), (4, 32), (8, 128)
    compile_bundle([ModelFile("bert", BERT)], tmp_path / "out", options(precision, calibration, "input_ids", *shapes))
    dtype, _ = STORED[precision]
    assert stored(assert_built(tmp_path / "out"))[dtype] > 10_000


@pytest.mark.slow  # half a minute each: fifty convolutions
@pytest.mark.parametrize("precision", [Precision.INT8, Precision.FP8])
def test_convolutions_are_built_on_codes(precision: Precision, tmp_path: Path) -> None:
    model = saved(randomized("resnet50"), tmp_path / "resnet50.onnx")
    calibration = requests(tmp_path / "requests", **{"gpu_0/data_0": normal(1, 3, 224, 224)})
    compile_bundle([ModelFile("resnet50", model)], tmp_path / "out", options(precision, calibration))
    bundle = assert_built(tmp_path / "out")
    dtype, _ = STORED[precision]
    assert stored(bundle)[dtype] > 25_000_000
    report = bundle.report()
    assert report is not None
    (engine,) = (found for found in report.numerics if found.after == "engine")
    (before,) = (found for found in report.numerics if found.after == "quantize-static")
    assert engine.max_rel is not None
    assert before.max_rel is not None
    assert engine.max_rel < 2 * before.max_rel, "what the graph computes is what the pass made of the source"


LINES = 32
"""That are read by the graphs of the plans, of those that no range was found from."""


@pytest.mark.slow  # most of a minute each: the OCR model is converted, and the builder looks for kernels
@each_precision
def test_a_decode_is_built(precision: Precision, tmp_path: Path) -> None:
    with np.load(OCR / "eval.npz") as archive:
        images, targets = archive["images"].astype(np.float32), archive["targets"][16 : 16 + LINES]
    calibration = requests(tmp_path / "requests", image=images[:16])
    shapes = (1, 1, 16, 320), (4, 1, 16, 320), (8, 1, 16, 320)
    wanted = replace(
        options(precision, calibration, "image", *shapes),
        schedule=ScheduleName.LOOP,
        tokens=TokenFlags(max_new_tokens=75),
    )
    made = compile_bundle([ModelFile("ocr", OCR / "model.onnx")], tmp_path / "out", wanted)
    bundle = assert_built(tmp_path / "out", engines=2)
    assert not bundle.manifest.numerics.exact_tokens
    assert [notice for notice in made.report.notices if "not the source's" in notice] == []
    with runnable(bundle) as proof, Session.of(proof, "ocr") as session:
        results = session.run({"image": images[16 : 16 + LINES]})
    read = [row[:length].tolist() for row, length in zip(results["tokens"], results["lengths"], strict=True)]
    assert read == [[int(token) for token in row if token] for row in targets]


@pytest.mark.slow  # half a minute each
@pytest.mark.parametrize("precision", [Precision.BF16, Precision.FP8])
@pytest.mark.parametrize("schedule", [ScheduleName.UNROLLED, ScheduleName.PARTITIONED])
def test_so_are_positions_that_call_one_function(precision: Precision, schedule: ScheduleName, tmp_path: Path) -> None:
    with np.load(OCR / "eval.npz") as archive:
        calibration = requests(tmp_path / "requests", image=archive["images"][:4].astype(np.float32))
    shapes = (1, 1, 16, 320), (4, 1, 16, 320), (8, 1, 16, 320)
    wanted = replace(
        options(precision, calibration, "image", *shapes),
        schedule=schedule,
        partitions=(3, 6) if schedule is ScheduleName.PARTITIONED else (),
        tokens=TokenFlags(max_new_tokens=6),
    )
    compile_bundle([ModelFile("ocr", OCR / "model.onnx")], tmp_path / "out", wanted)
    assert_built(tmp_path / "out", engines=2 if schedule is ScheduleName.PARTITIONED else 1)
