"""Real plans of TensorRT-RTX, which builds them without a GPU, and bundles that hold some."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest
from onnx import ModelProto, helper

from artifacts.bundle import Bundle
from artifacts.canonical import sha256_bytes
from artifacts.dtype import DType
from artifacts.manifest import MANIFEST_FILE, EngineEntry, FileEntry, Need, WeightAccess
from artifacts.plan_build import PlanBuild
from artifacts.tensorrt_plan import KIND
from tests.support.models import floats, graph_model


@cache
def built_plan(*capabilities: str, elements: int = 4) -> bytes:
    """A plan of y = relu(x), x float32 [elements], for compute capabilities such as "sm89".

    Skips the test where TensorRT-RTX is not installed.
    """
    relu = helper.make_node("Relu", ["x"], ["y"])
    return plan_of(graph_model([relu], [floats("x", elements)], [floats("y", elements)]), *capabilities)


def plan_of(model: ModelProto, *capabilities: str) -> bytes:
    """The plan of a model whose sizes are fixed. Skips the test where TensorRT-RTX is not installed."""
    rtx = pytest.importorskip("tensorrt_rtx")
    logger = rtx.Logger(rtx.Logger.ERROR)
    builder = rtx.Builder(logger)
    network = builder.create_network(1 << int(rtx.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    assert rtx.OnnxParser(network, logger).parse(model.SerializeToString())
    config = builder.create_builder_config()
    config.num_compute_capabilities = len(capabilities)
    for number, capability in enumerate(capabilities):
        config.set_compute_capability(getattr(rtx.ComputeCapability, capability.upper()), number)
    return bytes(builder.build_serialized_network(network, config))


def put_plans(root: Path, plans: Mapping[str, bytes | None], runs_on: tuple[str, ...]) -> None:
    """Make engines of the bundle at `root` ones of TensorRT-RTX that the manifest says run there, with these plans.

    An engine whose plan is None has none yet, only its source.
    """
    manifest = Bundle.open(root).manifest
    engines, files = dict(manifest.engines), dict(manifest.files)
    for name, plan in plans.items():
        path = f"engines/{name}.plan"
        if plan is not None:
            (root / path).write_bytes(plan)
            files[path] = FileEntry(sha256=sha256_bytes(plan), bytes=len(plan))
        engines[name] = EngineEntry(
            kind=KIND,
            target=KIND,
            signature=engines[name].signature,
            source=engines[name].source,
            plan=None if plan is None else path,
            build=PlanBuild(dtypes=(DType.FLOAT32,)),
            status="emitted" if plan is None else "built",
            needs=(Need(what="an NVIDIA GPU", command="unspool verify BUNDLE"),),
            runs_on=runs_on,
            bindings=engines[name].bindings,
            weights=WeightAccess(default="embedded", ways={"embedded": "all weights"}),
        )
    changed = manifest.model_copy(update={"engines": engines, "files": files})
    (root / MANIFEST_FILE).write_bytes(changed.to_bytes())
