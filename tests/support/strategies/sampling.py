"""Images resized, and sampled at given positions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from tests.support.onnx_ops import Array, reference
from tests.support.onnxruntime_models import answers
from tests.support.strategies.node import BIT, Node, is_half
from tests.support.strategies.table import draws

SCALES = (0.5, 0.6, 0.75, 1.0, 1.5, 2.0, 2.4, 3.0)
TRANSFORMATIONS = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]


@draws("Resize", "Upsample")
def resize(node: Node) -> Sequence[Array | None]:
    return _resize_by_scales(node) if node.since <= 10 else _resize(node)


def _resize_by_scales(node: Node) -> Sequence[Array | None]:
    """Before there were transformations a position was divided by the scale, and nearest rounded down."""
    mode = node.attribute("mode", st.sampled_from(["nearest", "bilinear" if node.since == 1 else "linear"]))
    data = node.array((1, 2, 3, 4), node.dtype(0, "iuf"))
    scales = [1.0, 1.0, node.choice(1.0, 2.0, 3.0), node.choice(1.0, 2.0, 3.0)]
    later = {"mode": str(mode).replace("bilinear", "linear"), "nearest_mode": "floor"}
    later["coordinate_transformation_mode"] = "asymmetric"
    as_input = np.array(scales, np.float32)
    node.ask([data.astype(np.float64) if data.dtype.kind == "f" else data, None, as_input], 13, later, "Resize")
    assert node.expected is not None
    node.expected = [node.expected[0].astype(data.dtype)]
    if node.since == 1:
        node.set("height_scale", scales[2])
        node.set("width_scale", scales[3])
        return [data]
    if node.has("scales"):
        node.set("scales", scales)
        return [data]
    return [data, as_input]


def _resize(node: Node) -> Sequence[Array | None]:
    mode = node.attribute("mode", st.sampled_from(["nearest", "linear", "cubic"]))
    # Integers that are made of several are rounded, and which way, hangs on the last bit.
    dtype = node.dtype(0, "iuf" if mode == "nearest" else "f")
    how = node.attribute("coordinate_transformation_mode", st.sampled_from(TRANSFORMATIONS))
    node.attribute("nearest_mode", st.sampled_from(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]))
    node.attribute("cubic_coeff_a", st.sampled_from([-0.5, -0.75]))
    node.attribute("exclude_outside", BIT if mode == "cubic" else st.just(0))
    node.attribute("antialias", BIT if mode != "nearest" else st.just(0))
    node.attribute("extrapolation_value", st.just(1.5))
    node.asked |= {"axes", "keep_aspect_ratio_policy"}
    shape = node.choice((4,), (3, 5), (1, 2, 5), (1, 2, 4, 5))
    data = node.array(shape, dtype)
    axes = [*range(len(shape))]
    if node.has("axes") and node.bit():
        axes = node.draw(st.lists(st.sampled_from(axes), min_size=1, unique=True))
        node.set("axes", [axis - len(shape) * node.bit() for axis in axes])
    # The evaluator does not follow the specification for one element of the result in mode pytorch_half_pixel.
    least = 2 if how == "pytorch_half_pixel" else 1
    fixed = [axis < len(shape) - 2 for axis in axes]
    scales = [
        1.0 if keep else node.choice(*(s for s in SCALES if int(s * shape[axis]) >= least))
        for axis, keep in zip(axes, fixed, strict=True)
    ]
    node.tolerance = {"float16": 2e-2, "bfloat16": 0.1}.get(data.dtype.name, 1e-4) if data.dtype.kind in "fV" else None
    roi = np.zeros(0, np.float32) if node.since < 13 or node.bit() else None
    # The evaluator takes axes in their own order, and all of them.
    everywhere = [dict(zip(axes, scales, strict=True)).get(axis, 1.0) for axis in range(len(shape))]
    attributes = {name: value for name, value in node.attributes.items() if name != "axes"}
    if node.bit():
        node.ask([data, roi, np.array(everywhere, np.float32)], node.since, attributes)
        return [data, roi, np.array(scales, np.float32)]
    sizes = [int(scale * shape[axis]) for axis, scale in zip(axes, scales, strict=True)]
    if node.has("keep_aspect_ratio_policy"):
        node.attribute("keep_aspect_ratio_policy", st.just("stretch"))
    none = np.zeros(0, np.float32) if node.since < 13 else None
    whole = node.ints(*(int(scale * size) for scale, size in zip(everywhere, shape, strict=True)))
    node.ask([data, roi, none, whole], node.since, attributes)
    return [data, roi, none, node.ints(*sizes)]


@draws("GridSample")
def grid_sample(node: Node) -> Sequence[Array | None]:
    older = node.since < 20
    names = ["bilinear", "nearest", "bicubic"] if older else ["linear", "nearest", "cubic"]
    mode = node.attribute("mode", st.sampled_from(names))
    padding = node.attribute("padding_mode", st.sampled_from(["zeros", "border", "reflection"]))
    align = node.attribute("align_corners", BIT)
    flat = "cubic" in mode or older
    shape = node.choice((2, 3, 4, 5)) if flat else node.choice((2, 3, 4, 5), (1, 2, 3, 4, 5), (1, 2, 5))
    data = node.array(shape, node.dtype(0, "f"))
    rank = len(shape) - 2
    grid = node.array((shape[0], *[2] * rank, rank), node.dtype(1, "f"), -1.3, 1.3)
    # Of a cubic sample beyond the border the reference moves the position, where ONNX Runtime and torch move
    # each of the elements around it: no specification says so, but it is what models are made and run with.
    newer = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    node.judge = answers if (newer, padding) == ("cubic", "border") else reference
    operands = [data, grid]
    if node.judge is answers:
        operands = [a.astype(np.float32) for a in operands]
    node.ask(operands, 20, {"mode": newer, "padding_mode": padding, "align_corners": align})
    assert node.expected is not None
    node.expected = [node.expected[0].astype(data.dtype)]
    node.tolerance = 2e-2 if np.float16 in (data.dtype, grid.dtype) else 1e-4
    return [data, grid]


@draws("AffineGrid")
def affine_grid(node: Node) -> Sequence[Array | None]:
    node.attribute("align_corners", BIT)
    rank = node.choice(2, 3)
    batch = node.size(1, 3)
    inputs = [node.tensor(0, (batch, rank, rank + 1))]
    inputs.append(node.ints(batch, node.size(), *(node.size(2, 5) for _ in range(rank))))
    node.ask_wide(inputs)
    assert node.expected is not None
    node.expected = [node.expected[0].astype(inputs[0].dtype)]  # float32, as the evaluator has it
    node.tolerance = None if is_half(inputs[0].dtype) else 1e-5
    return inputs


@draws("RoiAlign")
def roi_align(node: Node) -> Sequence[Array | None]:
    """Regions partly outside too. In version 10 there was one transformation, named from 16 on."""
    node.set("sampling_ratio", node.size(1, 2))
    attributes = {
        name: node.attribute(name, values)
        for name, values in {
            "mode": st.sampled_from(["avg", "max"]),
            "output_height": st.integers(1, 3),
            "output_width": st.integers(1, 3),
            "spatial_scale": st.sampled_from([0.9, 1.0]),
        }.items()
    }
    modes = st.sampled_from(["half_pixel", "output_half_pixel"])
    how = node.attribute("coordinate_transformation_mode", modes, absent="output_half_pixel")
    data = node.tensor(0, (2, 3, 6, 5))
    count = node.size()
    corners = np.sort(node.array((count, 2, 2), data.dtype, -2, 7), 1).reshape(count, 4)
    inputs = [data, corners, node.array((count,), np.int64, 0, 1)]
    attributes |= {"coordinate_transformation_mode": how, "sampling_ratio": node.attributes["sampling_ratio"]}
    node.ask_wide(inputs, attributes)
    node.tolerance = None if is_half(data.dtype) else 1e-4
    return inputs


@draws("NonMaxSuppression")
def non_max_suppression(node: Node) -> Sequence[Array | None]:
    """Corners on a grid, so that overlaps meet thresholds exactly, and scores of one digit, so that some are equal."""
    node.attribute("center_point_box", BIT)
    batch, classes, count = node.size(1, 2), node.size(1, 3), node.size(1, 8)
    boxes = np.round(node.array((batch, count, 4), np.float32, 0, 4) * 4) / 4
    scores = np.round(node.array((batch, classes, count), np.float32, 0, 1), 1)
    overlap, threshold = node.choice(0.0, 0.25, 0.5, 1.0), node.choice(0.0, 0.4, None)
    limits = [node.ints(node.size(0, 5)), np.array([overlap], np.float32)]
    # The evaluator cannot do without a threshold.
    least = np.array([-1.0 if threshold is None else threshold], np.float32)
    node.ask([boxes, scores, *limits, least], 11, node.attributes)
    return [boxes, scores, *limits, None if threshold is None else least]
