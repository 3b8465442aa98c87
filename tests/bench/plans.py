"""What plans of TensorRT-RTX cost to make, and how large they are."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from artifacts.bundle import Bundle
from artifacts.report import EngineSize
from artifacts.tensorrt_plan import KIND
from compiler.compile import compile_bundle
from compiler.emit import emit_bundle
from compiler.generation import TokenFlags
from compiler.options import CompileOptions, Existing, ModelFile, ScheduleName
from tests.bench.cases import BUILD, bert_base, bundle_of, ocr
from tests.bench.figures import Figure
from tests.bench.timing import turns
from tests.support.models import DATA

BUILD_BOUND = 2.0
CAPABILITY = "sm89"
ROUNDS = 3
Sizes = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""Smallest, usual and largest batch and sequence."""
SIZES: Sizes = ((1, 8), (8, 128), (32, 512))
SMALL_SIZES: Sizes = ((1, 4), (4, 32), (8, 128))


def of_plans(*, quick: bool) -> Iterator[Figure]:
    """Making the plan of BERT-base against a bare call of the builder on the same ONNX; plans over their weights.

    The quick form is of a small BERT, and has no reader of lines.
    """
    if find_spec("tensorrt_rtx") is None:
        print("plans of TensorRT-RTX: skipped, tensorrt-rtx is not installed", file=sys.stderr)
        return
    if quick:
        yield from _against_builder("bert_tiny", DATA / "bert_tiny" / "model_dynamo.onnx", SMALL_SIZES)
        return
    yield from _against_builder("BERT-base", bert_base(), SIZES)
    yield from _of_partitions()


def _against_builder(what: str, file: Path, sizes: Sizes) -> Iterator[Figure]:
    """Making a plan of a bundle's source, and all of `unspool emit`, against a bare call of the builder on that source.

    What the first has beside the builder is the preflight, and what the second has is reading and writing bundles.
    """
    least, usual, most = (("input_ids", size) for size in sizes)
    options = CompileOptions(
        target=KIND,
        compute_capabilities=(CAPABILITY,),
        min_shapes=(least,),
        opt_shapes=(usual,),
        max_shapes=(most,),
    )
    bundles = BUILD / "bundles"
    bundles.mkdir(parents=True, exist_ok=True)
    compiled = compile_bundle([ModelFile("bert", file)], bundles / "bert-rtx", options, existing=Existing.REMAKE)
    (engine,) = compiled.bundle.manifest.engines.values()
    made, lengths, built = list[EngineSize](), list[int](), list[float]()

    def ours() -> float:
        began = time.perf_counter()
        emitted = emit_bundle(compiled.bundle.root, KIND, bundles / "bert-rtx-again", force=True)
        seconds = time.perf_counter() - began
        report = emitted.bundle.report()
        assert report is not None
        made[:] = report.engines
        built.append(report.stages[-1].seconds)
        return seconds

    def bare() -> float:
        seconds, length = _bare_build(compiled.bundle.root, engine.source, sizes)
        lengths[:] = [length]
        return seconds

    seconds = turns({"ours": ours, "bare": bare}, ROUNDS, warm_up=1)
    stages = {stage.name: stage.seconds for stage in compiled.report.stages}
    making = median(built[1:])
    against = f"s against {seconds['bare']:.2f} s"
    yield Figure(f"{what}, a plan of its source", making / seconds["bare"], "x", BUILD_BOUND, f"{making:.2f} {against}")
    whole = (
        f"{seconds['ours']:.2f} {against}; of {compiled.report.seconds:.1f} s that the compilation before it took, "
        f"writing the source as ONNX and building took {stages['emit']:.1f} s"
    )
    yield Figure(f"{what}, unspool emit as a whole", seconds["ours"] / seconds["bare"], "x", None, whole)
    for size in made:
        yield from _over_weights(what, size, f"; of the bare call {lengths[0] / 1e6:.2f} MB")


def _bare_build(root: Path, source: str, sizes: Sizes) -> tuple[float, int]:
    """Seconds of parsing a bundle's source and building its plan with nothing of ours, and the plan's bytes."""
    trt: Any = importlib.import_module("tensorrt_rtx")
    began = time.perf_counter()
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    # The weights lie in the bundle's folder, and are named from it.
    assert trt.OnnxParser(network, logger).parse((root / source).read_bytes(), str(root / "engine.onnx"))
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, CAPABILITY.upper()), 0)
    profile = builder.create_optimization_profile()
    for number in range(network.num_inputs):
        profile.set_shape(network.get_input(number).name, *sizes)
    config.add_optimization_profile(profile)
    plan = bytes(builder.build_serialized_network(network, config))
    return time.perf_counter() - began, len(plan)


def _of_partitions() -> Iterator[Figure]:
    """Plans of the trained reader of lines, cut at 25, 50 and 75 tokens: all three partitions are one engine."""
    least, usual, most = (("image", (rows, 1, 16, 320)) for rows in (1, 4, 8))
    options = CompileOptions(
        target=KIND,
        compute_capabilities=(CAPABILITY,),
        schedule=ScheduleName.PARTITIONED,
        partitions=(25, 50, 75),
        tokens=TokenFlags(max_new_tokens=75),
        min_shapes=(least,),
        opt_shapes=(usual,),
        max_shapes=(most,),
    )
    report = Bundle.open(bundle_of("ocr-rtx-in-parts", ocr(), options)).report()
    assert report is not None
    for size in report.engines:
        yield from _over_weights("lines of text", size)


def _over_weights(what: str, size: EngineSize, more: str = "") -> Iterator[Figure]:
    """How many times the bytes of its weights a plan has."""
    if size.plan is None or not size.plan.weights.bytes:
        return
    plan, kernels = size.plan, size.plan.kernels
    detail = (
        f"{plan.bytes / 1e6:.2f} MB for {plan.weights.bytes / 1e6:.2f} MB, "
        f"{kernels.bytes / 1e6:.2f} MB in texts of {kernels.texts} kernels{more}"
    )
    yield Figure(f"{what}, plan of {size.name} over its weights", plan.bytes / plan.weights.bytes, "x", None, detail)
