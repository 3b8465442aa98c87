from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
import pytest

from artifacts.errors import UnsupportedError
from tests.support.onnx_ops import Array, check_op, node_model, reference, run_op, sample

NAMES = {16: ["bilinear", "nearest", "bicubic"], 20: ["linear", "nearest", "cubic"], 22: ["linear", "nearest", "cubic"]}


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


@pytest.mark.parametrize("align", [0, 1])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize(("since", "mode"), [(since, mode) for since, modes in NAMES.items() for mode in modes])
def test_images(since: int, mode: str, padding: str, align: int) -> None:
    attributes = {"mode": mode, "padding_mode": padding, "align_corners": align}
    inputs = [sample((2, 3, 4, 5)), sample((2, 3, 2, 2), low=-1.3, high=1.3, seed=1)]
    # The reference knows only the newer names of the modes.
    newer = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    model = node_model("GridSample", inputs, 20, {**attributes, "mode": newer})
    # Of a cubic sample beyond the border the reference moves the position, where ONNX Runtime and torch move
    # each of the elements around it: no specification says so, but it is what models are made and run with.
    judge = onnxruntime_outputs if (newer, padding) == ("cubic", "border") else reference
    check_op("GridSample", inputs, since, attributes=attributes, expected=judge(model, inputs), tolerance=1e-4)


def onnxruntime_outputs(model: onnx.ModelProto, arrays: Sequence[Array]) -> list[Array]:
    model.ir_version = 10
    for output in model.graph.output:
        output.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = dict(zip((value.name for value in model.graph.input), arrays, strict=True))
    return [np.asarray(result) for result in session.run(None, feeds)]


@pytest.mark.parametrize("mode", ["linear", "nearest"])
@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_lines_and_volumes(mode: str, padding: str) -> None:
    attributes = {"mode": mode, "padding_mode": padding}
    volume = [sample((1, 2, 3, 4, 5)), sample((1, 2, 3, 2, 3), low=-1, high=1, seed=1)]
    check_op("GridSample", volume, 20, attributes=attributes, tolerance=1e-4)
    line = [sample((1, 2, 5)), sample((1, 4, 1), low=-1, high=1, seed=1)]
    check_op("GridSample", line, 20, attributes=attributes, tolerance=1e-4)


def test_cubic_volumes_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="volumes"):
        run_op("GridSample", [sample((1, 2, 3, 4, 5)), sample((1, 2, 3, 2, 3))], 20, attributes={"mode": "cubic"})


def test_samples_follow_the_sizes() -> None:
    inputs = [sample((2, 3, 4, 5)), sample((2, 3, 2, 2), low=-1, high=1)]
    others = [sample((3, 3, 6, 5)), sample((3, 2, 4, 2), low=-1, high=1)]
    check_op("GridSample", inputs, 20, symbolic=others, tolerance=1e-4)


@pytest.mark.parametrize("align", [0, 1])
def test_affine_grid(align: int) -> None:
    attributes = {"align_corners": align}
    check_op("AffineGrid", [sample((2, 2, 3)), ints(2, 3, 4, 5)], 20, attributes=attributes, constants={1})
    check_op("AffineGrid", [sample((2, 3, 4)), ints(2, 3, 4, 5, 6)], 20, attributes=attributes, constants={1})


@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 1, 1, 1], [1, 0, 2, 1]])
@pytest.mark.parametrize(("strides", "dilations"), [([1, 1], [1, 1]), ([2, 1], [1, 1]), ([1, 2], [2, 1])])
def test_patches_of_images(pads: list[int], strides: list[int], dilations: list[int]) -> None:
    image, block = [6, 7], [2, 3]
    columns = 1
    for i in range(2):
        reach = dilations[i] * (block[i] - 1) + 1
        columns *= (image[i] + pads[i] + pads[i + 2] - reach) // strides[i] + 1
    inputs = [sample((2, 3 * 6, columns)), ints(*image), ints(*block)]
    attributes = {"pads": pads, "strides": strides, "dilations": dilations}
    check_op("Col2Im", inputs, 18, attributes=attributes, constants={1, 2})


def test_patches_of_lines_and_volumes() -> None:
    check_op("Col2Im", [sample((2, 4, 5)), ints(6), ints(2)], 18, constants={1, 2})
    check_op("Col2Im", [sample((1, 2 * 8, 12)), ints(3, 4, 3), ints(2, 2, 2)], 18, constants={1, 2})


def test_patches_follow_the_batch() -> None:
    shapes = [ints(6, 7), ints(2, 3)]
    check_op("Col2Im", [sample((2, 6, 25)), *shapes], 18, constants={1, 2}, symbolic=[sample((4, 6, 25)), *shapes])
