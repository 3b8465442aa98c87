from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.errors import UnsupportedError
from passes.onnx_to_torch.importer import Importer
from tests.support.onnx_ops import FEW, Array, check_op, compare, export, node_model, run, run_op, sample

TRANSFORMATIONS = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]
SCALES = st.sampled_from([0.5, 0.6, 0.75, 1.0, 1.5, 2.0, 2.4, 3.0])
CONSTANT = {1, 2, 3}


def by_scales(data: Array, *scales: float) -> list[Array | None]:
    return [data, None, np.array(scales, np.float32)]


def by_sizes(data: Array, *sizes: int) -> list[Array | None]:
    return [data, None, None, np.array(sizes, np.int64)]


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("transformation", TRANSFORMATIONS)
@pytest.mark.parametrize("since", [11, 13, 18, 19])
@settings(FEW, max_examples=6)
@given(h=SCALES, w=SCALES)
def test_by_scales(since: int, transformation: str, mode: str, h: float, w: float) -> None:
    data = sample((1, 2, 4, 5))
    if transformation == "pytorch_half_pixel" and 1 in (int(h * 4), int(w * 5)):
        return  # the reference does not follow the specification for one output element
    inputs = by_scales(data, 1, 1, h, w)
    inputs[1] = np.zeros(0, np.float32)  # roi was not optional at first
    attributes = {"mode": mode, "coordinate_transformation_mode": transformation}
    check_op("Resize", inputs, since, attributes=attributes, constants=CONSTANT, tolerance=2e-5)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("transformation", TRANSFORMATIONS)
@pytest.mark.parametrize("constant", [True, False])
@FEW
@given(h=st.integers(2, 9), w=st.integers(2, 12))
def test_by_sizes(constant: bool, transformation: str, mode: str, h: int, w: int) -> None:
    attributes = {"mode": mode, "coordinate_transformation_mode": transformation, "nearest_mode": "round_prefer_ceil"}
    inputs = by_sizes(sample((1, 2, 4, 6)), 1, 2, h, w)
    check_op("Resize", inputs, 19, attributes=attributes, constants=CONSTANT if constant else (), tolerance=2e-5)


@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize("transformation", [*TRANSFORMATIONS, "half_pixel_symmetric"])
@pytest.mark.parametrize("scale", [0.4, 0.6, 1.2, 2.0, 3.0])
def test_nearest(transformation: str, rounding: str, scale: float) -> None:
    attributes = {"coordinate_transformation_mode": transformation, "nearest_mode": rounding}
    if transformation == "pytorch_half_pixel" and int(scale * 7) == 1:
        return
    check_op("Resize", by_scales(sample((1, 1, 7)), 1, 1, scale), 19, attributes=attributes, constants=CONSTANT)


@pytest.mark.parametrize("rounding", ["floor", "ceil"])
def test_tf_half_pixel_for_nn(rounding: str) -> None:
    data = sample((1, 1, 6))
    attributes = {"coordinate_transformation_mode": "tf_half_pixel_for_nn", "nearest_mode": rounding}
    for scale in (0.5, 2.0):
        at = (np.arange(int(6 * scale)) + 0.5) / scale
        index = (np.floor(at) if rounding == "floor" else np.ceil(at)).clip(0, 5).astype(int)
        inputs: list[Array | None] = [data, np.zeros(0, np.float32), np.array([1, 1, scale], np.float32)]
        check_op("Resize", inputs, 11, attributes=attributes, constants=CONSTANT, expected=[data[..., index]])


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("exclude", [0, 1])
@pytest.mark.parametrize("antialias", [0, 1])
@pytest.mark.parametrize("scales", [(0.6, 0.45), (1.7, 0.48), (2.0, 2.0)])
@pytest.mark.parametrize("transformation", ["half_pixel", "half_pixel_symmetric", "align_corners"])
def test_kernels(mode: str, exclude: int, antialias: int, scales: tuple[float, float], transformation: str) -> None:
    attributes = {"mode": mode, "exclude_outside": exclude, "antialias": antialias, "cubic_coeff_a": -0.5}
    attributes["coordinate_transformation_mode"] = transformation
    inputs = by_scales(sample((1, 2, 6, 9)), 1, 1, *scales)
    check_op("Resize", inputs, 19, attributes=attributes, constants=CONSTANT, tolerance=2e-5)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_crop_and_resize(mode: str) -> None:
    roi = np.array([0, 0, 0.4, -0.2, 1, 1, 0.6, 1.3], np.float32)
    inputs: list[Array | None] = [sample((1, 1, 4, 5)), roi, None, np.array([1, 1, 3, 4], np.int64)]
    attributes: dict[str, Any] = {"mode": mode, "extrapolation_value": 10.0}
    attributes["coordinate_transformation_mode"] = "tf_crop_and_resize"
    check_op("Resize", inputs, 19, attributes=attributes, constants=CONSTANT, tolerance=1e-4)


def test_one_output_element_of_pytorch_half_pixel_is_the_first_element() -> None:
    attributes = {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"}
    data = sample((1, 1, 4))
    check_op("Resize", by_sizes(data, 1, 1, 1), 19, attributes=attributes, constants=CONSTANT, expected=[data[..., :1]])


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_keeps_the_aspect_ratio(policy: str, mode: str) -> None:
    attributes = {"mode": mode, "keep_aspect_ratio_policy": policy, "axes": [2, 3]}
    inputs = by_sizes(sample((1, 2, 4, 6)), 7, 8)
    check_op("Resize", inputs, 19, attributes=attributes, constants=CONSTANT, tolerance=1e-5)


def test_chosen_axes_in_any_order() -> None:
    data = sample((4, 5, 6))
    inputs = by_scales(data, 2.0, 0.5)
    (result,) = run_op("Resize", inputs, 18, attributes={"mode": "linear", "axes": [-1, 0]}, constants=CONSTANT)
    (same,) = run_op("Resize", by_scales(data, 0.5, 1, 2), 18, attributes={"mode": "linear"}, constants=CONSTANT)
    np.testing.assert_allclose(result, same, 1e-5, 1e-6)


@pytest.mark.parametrize("dtype", ["float16", "float64", "uint8", "int8", "int32"])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_other_types(dtype: str, mode: str) -> None:
    data = sample((1, 2, 4, 5), dtype, low=-128, high=127)
    inputs = by_scales(data, 1, 1, 1.5, 0.8)
    # The reference computes cubic weights in float32 whatever the type.
    tolerance = {"float16": 0.1, "float64": 1e-4 if mode == "cubic" else None}.get(dtype)
    check_op("Resize", inputs, 13, attributes={"mode": mode}, constants=CONSTANT, tolerance=tolerance)


@pytest.mark.parametrize("rank", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_every_rank(rank: int, mode: str) -> None:
    shape = (2, 3, 2, 3, 2)[:rank]
    scales = [1.0, 1.0, 2.0, 1.5, 2.0][:rank] if rank > 2 else [1.5, 2.0][:rank]
    check_op("Resize", by_scales(sample(shape), *scales), 13, attributes={"mode": mode}, constants=CONSTANT)


@pytest.mark.parametrize("since", [1, 7, 9, 10])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_upsample(since: int, mode: str) -> None:
    data = sample((1, 2, 3, 4))
    attributes: dict[str, Any] = {"mode": "bilinear" if since == 1 and mode == "linear" else mode}
    inputs = [data]
    if since == 1:
        attributes |= {"height_scale": 2.0, "width_scale": 3.0}
    elif since == 7:
        attributes |= {"scales": [1.0, 1.0, 2.0, 3.0]}
    else:
        inputs.append(np.array([1, 1, 2, 3], np.float32))
    modern = {"mode": mode, "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    (expected,) = run_op("Resize", by_scales(data, 1, 1, 2, 3), 13, attributes=modern, constants=CONSTANT)
    if mode == "nearest":
        np.testing.assert_array_equal(expected, data.repeat(2, 2).repeat(3, 3))
    op_type = "Resize" if since == 10 else "Upsample"
    check_op(op_type, inputs, since, attributes=attributes, constants={1}, expected=[expected])


@pytest.mark.parametrize(
    ("mode", "transformation", "kernel"),
    [
        ("nearest", "asymmetric", "aten.upsample_nearest2d.vec"),
        ("linear", "align_corners", "aten.upsample_bilinear2d.vec"),
        ("cubic", "half_pixel", "aten.upsample_bicubic2d.vec"),
    ],
)
def test_common_forms_are_torchs_own_kernels_and_follow_the_size(mode: str, transformation: str, kernel: str) -> None:
    attributes = {"mode": mode, "coordinate_transformation_mode": transformation, "nearest_mode": "floor"}
    inputs, others = by_scales(sample((2, 3, 4, 5)), 1, 1, 2, 2), by_scales(sample((3, 3, 6, 7)), 1, 1, 2, 2)
    importer = Importer(ir.from_proto(node_model("Resize", inputs, 13, attributes, constants=CONSTANT)))
    program = export(importer, [sample((2, 3, 4, 5))], [sample((3, 3, 6, 7))])
    assert kernel in {str(node.target) for node in program.graph.nodes}
    (expected,) = run_op("Resize", others, 13, attributes=attributes, constants=CONSTANT)
    compare(run(program.module(), [sample((3, 3, 6, 7))]), [expected])


@pytest.mark.parametrize(("mode", "transformation"), [("nearest", "half_pixel"), ("cubic", "asymmetric")])
def test_other_forms_follow_the_size(mode: str, transformation: str) -> None:
    attributes = {"mode": mode, "coordinate_transformation_mode": transformation}
    inputs, others = by_scales(sample((2, 3, 4, 5)), 1, 1, 1.5, 2), by_scales(sample((3, 3, 6, 7)), 1, 1, 1.5, 2)
    check_op("Resize", inputs, 13, attributes=attributes, constants=CONSTANT, symbolic=others)


@pytest.mark.parametrize("factor", [49, 7, 10])
def test_every_factor_is_exact(factor: int) -> None:
    """1/49 in float32 is less than 1/49: a kernel that multiplies by it would take element 0 for 49 / 49."""
    data = sample((1, 1, 30))
    attributes = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    inputs = by_scales(data, 1, 1, factor)
    check_op("Resize", inputs, 13, attributes=attributes, constants=CONSTANT, expected=[data.repeat(factor, 2)])


def test_scales_that_the_model_computes_are_refused() -> None:
    inputs = by_scales(sample((2, 3, 4, 5)), 1, 1, 2, 2)
    importer = Importer(ir.from_proto(node_model("Resize", inputs, 13, constants={1})))
    arrays = [array for array in inputs if array is not None]
    with pytest.raises(UnsupportedError, match="scales or roi computed by the model"):
        export(importer, arrays, arrays)


def test_one_element_has_its_own_position_when_the_size_is_known_late() -> None:
    """In pytorch_half_pixel an output of one element is the input's first one, not the one in the middle."""
    data = sample((1, 1, 4, 4))
    sizes = [np.array([1, 1, 3, new], np.int64) for new in (3, 1)]
    check_op(
        "Resize",
        [data, None, None, sizes[0]],
        19,
        attributes={"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"},
        symbolic=[data, None, None, sizes[1]],
    )
