from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

from artifacts.errors import TargetError
from artifacts.tensorrt_plan import read_header
from compiler.tensorrt.builder import build_plan
from tests.support.models import floats, graph_model

RELU = graph_model([helper.make_node("Relu", ["x"], ["y"])], [floats("x", "n", 4)], [floats("y", "n", 4)])
PROFILE = {"x": ((1, 4), (2, 4), (8, 4))}


@pytest.fixture(scope="module")
def rtx() -> Any:
    return pytest.importorskip("tensorrt_rtx")


def test_a_plan_is_for_the_gpus_asked_for_and_the_same_every_time(rtx: Any, tmp_path: Path) -> None:
    plans = [build_plan(rtx, "relu", RELU.SerializeToString(), tmp_path, PROFILE, ("sm86", "sm120"), {}) for _ in "12"]
    assert plans[0] == plans[1]
    header = read_header(plans[0], "relu.plan")
    assert (header.capabilities, header.bytes) == (("sm86", "sm120"), len(plans[0]))


def test_the_sizes_of_a_profile_change_the_plan(rtx: Any, tmp_path: Path) -> None:
    larger = {"x": ((1, 4), (2, 4), (64, 4))}
    data = RELU.SerializeToString()
    one, other = (build_plan(rtx, "relu", data, tmp_path, each, ("sm89",), {}) for each in (PROFILE, larger))
    assert one != other


def test_every_node_that_the_parser_refuses_is_named_with_its_origin(
    rtx: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    nodes = [
        helper.make_node("Inverse", ["x"], ["a"], name="Inverse_0", domain="com.microsoft"),
        helper.make_node("Relu", ["a"], ["b"], name="Relu_0"),
        helper.make_node("Rfft", ["b"], ["y"], name="Rfft_0", domain="com.microsoft"),
    ]
    model = graph_model(nodes, [floats("x", 4, 4)], [floats("y", 4, 4)])
    with pytest.raises(TargetError) as caught:
        build_plan(rtx, "m", model.SerializeToString(), tmp_path, {}, ("sm89",), {"Rfft_0": "/model/fft"})
    subjects = [problem.subject for problem in caught.value.problems]
    assert subjects == ["engine m, node 'Inverse_0'", "engine m, node 'Rfft_0' (source node '/model/fft')"]
    assert not capfd.readouterr().out


def test_a_type_that_a_gpu_lacks_and_sizes_without_a_profile_are_the_builders_to_refuse(
    rtx: Any, tmp_path: Path
) -> None:
    """What is told before the build is what the builder would say."""
    bf16 = helper.make_tensor_value_info("x", TensorProto.BFLOAT16, [64, 64])
    out = helper.make_tensor_value_info("y", TensorProto.BFLOAT16, [64, 64])
    product = graph_model([helper.make_node("MatMul", ["x", "x"], ["y"])], [bf16], [out])
    with pytest.raises(TargetError, match=r"the builder fails: .*HW-specific"):
        build_plan(rtx, "m", product.SerializeToString(), tmp_path, {}, ("sm75",), {})
    with pytest.raises(TargetError, match=r"the builder fails: .*profile"):
        build_plan(rtx, "m", RELU.SerializeToString(), tmp_path, {}, ("sm89",), {})
