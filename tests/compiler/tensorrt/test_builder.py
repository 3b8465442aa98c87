from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from artifacts.dtype import DType
from artifacts.errors import TargetError
from artifacts.plan_build import BuilderOptions, PlanBuild, Profile, Sizes
from artifacts.tensorrt_plan import read_header
from compiler.node_origins import SOURCE_PROPERTY
from compiler.tensorrt.builder import build_plan, refusals
from tests.support.models import floats, graph_model
from tests.support.programs import parsed

RELU = graph_model([helper.make_node("Relu", ["x"], ["y"])], [floats("x", "n", 4)], [floats("y", "n", 4)])
PROFILE = {"x": Sizes(least=(1, 4), usual=(2, 4), most=(8, 4))}


def built_for(*capabilities: str, profile: Profile | None = None, **options: Any) -> PlanBuild:
    profiles = () if profile is None else (profile,)
    return PlanBuild(
        dtypes=(DType.FLOAT32,), capabilities=capabilities, profiles=profiles, options=BuilderOptions(**options)
    )


@pytest.fixture(scope="module")
def rtx() -> Any:
    return pytest.importorskip("tensorrt_rtx")


def test_a_plan_is_for_the_gpus_asked_for_and_the_same_every_time(rtx: Any, tmp_path: Path) -> None:
    build = built_for("sm86", "sm120", profile=PROFILE)
    plans = [build_plan(rtx, "relu", RELU.SerializeToString(), tmp_path, build) for _ in "12"]
    assert plans[0] == plans[1]
    header = read_header(plans[0], "relu.plan")
    assert (header.capabilities, header.bytes) == (("sm86", "sm120"), len(plans[0]))


def test_the_sizes_of_a_profile_change_the_plan(rtx: Any, tmp_path: Path) -> None:
    larger = {"x": Sizes(least=(1, 4), usual=(2, 4), most=(64, 4))}
    builds = [built_for("sm89", profile=each) for each in (PROFILE, larger)]
    builds.append(builds[0].model_copy(update={"profiles": (PROFILE, larger)}))
    plans = [build_plan(rtx, "relu", RELU.SerializeToString(), tmp_path, build) for build in builds]
    assert len(set(plans)) == 3


def test_every_node_that_the_parser_refuses_is_named_with_its_origin(
    rtx: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    nodes = [
        helper.make_node("Inverse", ["x"], ["a"], name="Inverse_0", domain="com.microsoft"),
        helper.make_node("Relu", ["a"], ["b"], name="Relu_0"),
        helper.make_node("Rfft", ["b"], ["y"], name="Rfft_0", domain="com.microsoft"),
    ]
    nodes[-1].metadata_props.add(key=SOURCE_PROPERTY, value="/model/fft")
    model = graph_model(nodes, [floats("x", 4, 4)], [floats("y", 4, 4)])
    data = model.SerializeToString()
    with pytest.raises(TargetError) as caught:
        build_plan(rtx, "m", data, tmp_path, built_for("sm89"))
    subjects = [problem.subject for problem in caught.value.problems]
    assert subjects == ["engine m, node 'Inverse_0'", "engine m, node 'Rfft_0' (source node '/model/fft')"]
    assert tuple(refusals(rtx, "m", data, tmp_path)) == caught.value.problems
    assert not refusals(rtx, "relu", RELU.SerializeToString(), tmp_path)
    assert not capfd.readouterr().out


def test_a_type_that_a_gpu_lacks_and_sizes_without_a_profile_are_the_builders_to_refuse(
    rtx: Any, tmp_path: Path
) -> None:
    """What is told before the build is what the builder would say."""
    bf16 = helper.make_tensor_value_info("x", TensorProto.BFLOAT16, [64, 64])
    out = helper.make_tensor_value_info("y", TensorProto.BFLOAT16, [64, 64])
    product = graph_model([helper.make_node("MatMul", ["x", "x"], ["y"])], [bf16], [out])
    with pytest.raises(TargetError, match=r"the builder fails: .*HW-specific"):
        build_plan(rtx, "m", product.SerializeToString(), tmp_path, built_for("sm75"))
    with pytest.raises(TargetError, match=r"the builder fails: .*profile"):
        build_plan(rtx, "m", RELU.SerializeToString(), tmp_path, built_for("sm89"))


def test_so_are_products_of_float8_where_a_gpu_has_none(rtx: Any, tmp_path: Path) -> None:
    text = """g (float[8, 16] x) => (float[8, 16] y) {
        scale = Constant <value_float = 0.25> ()
        q = QuantizeLinear (x, scale, zero)
        d = DequantizeLinear (q, scale)
        v = DequantizeLinear <axis = 1> (w, scales)
        y = MatMul (d, v)
    }"""
    model = parsed(text, scales=np.ones(16, np.float32))
    for name, shape in (("w", (16, 16)), ("zero", ())):
        codes = bytes(math.prod(shape))
        model.graph.initializer.append(helper.make_tensor(name, TensorProto.FLOAT8E4M3FN, shape, codes, raw=True))
    data = model.SerializeToString()
    with pytest.raises(TargetError, match=r"the builder fails: .*sm86, because .*fp8"):
        build_plan(rtx, "m", data, tmp_path, built_for("sm86"))
    assert read_header(build_plan(rtx, "m", data, tmp_path, built_for("sm89")), "m.plan").capabilities == ("sm89",)


def test_what_takes_a_gpu_to_build_says_so(rtx: Any, tmp_path: Path) -> None:
    product = graph_model(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [floats("x", 4, 4)],
        [floats("y", 4, 4)],
        {"w": np.eye(4, dtype=np.float32)},
    )
    for weights in ("refit", "stripped"):
        with pytest.raises(TargetError, match="the builder fails") as caught:
            build_plan(rtx, "m", product.SerializeToString(), tmp_path, built_for("sm89", weights=weights))
        assert "--weights embedded" in caught.value.problems[0].hint


def test_people_are_told_what_the_builder_is_at(rtx: Any, tmp_path: Path) -> None:
    told: list[str] = []
    build_plan(rtx, "relu", RELU.SerializeToString(), tmp_path, built_for("sm89", profile=PROFILE), told.append)
    assert told[0] == "relu: building engine"
