"""What fusions leave of a block of an image network, in the engine and in ONNX Runtime's own form of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from artifacts.bundle import Bundle
from artifacts.runtime import Session
from compiler.compile import compile_bundle
from compiler.options import CompileOptions, ModelFile
from tests.support.models import normal, saved, source_outputs
from tests.support.programs import parsed

BLOCK = """
block (float[n, 16, h, w] x) => (float[n, 16, i, j] y) {
    a = Conv (x, pointwise)
    b = Mul (scale, a)
    c = Add (b, shift)
    above = Add (c, three)
    gate = Clip (above, zero, six)
    product = Mul (c, gate)
    d = Div (product, six)
    e = Mul (shift, d)
    f = Add (e, scale)
    y = Conv <pads = [1, 1, 1, 1], group = 16> (f, depthwise)
}
"""


def test_a_block_of_scales_and_hard_swishes_stays_in_the_layout_of_convolutions(tmp_path: Path) -> None:
    numbers = {"scale": 1.5, "shift": 0.25, "zero": 0, "three": 3, "six": 6}
    weights = {name: np.array(number, np.float32) for name, number in numbers.items()}
    kernels = {"pointwise": normal(16, 16, 1, 1), "depthwise": normal(16, 1, 3, 3)}
    model = saved(parsed(BLOCK, **weights, **kernels), tmp_path / "block.onnx")
    root = compile_bundle([ModelFile("block", model)], tmp_path / "bundle", CompileOptions()).bundle.root
    (engine,) = Bundle.open(root).manifest.engines.values()
    graph = onnx.load(root / engine.source, load_external_data=False).graph
    assert [node.op_type for node in graph.node] == ["Conv", "HardSwish", "BatchNormalization", "Conv"]
    inputs = {"x": normal(2, 16, 5, 6)}
    with Session.open(root) as session:
        np.testing.assert_allclose(session.run(inputs)["y"], source_outputs(model, inputs)["y"], rtol=1e-4, atol=1e-4)
    assert _optimized(root / engine.source, root, tmp_path) == {"ReorderInput": 1, "Conv": 3, "ReorderOutput": 1}


def _optimized(engine: Path, root: Path, folder: Path) -> Counter[str]:
    """The operators that ONNX Runtime runs."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(root))
    onnxruntime.InferenceSession(engine.read_bytes(), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node)
