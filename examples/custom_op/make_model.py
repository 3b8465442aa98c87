"""Write model.onnx, which holds an operator that ONNX does not define, and samples.npz with its right answers."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

ALPHA = 1.702
DOMAIN = "com.example"


def model(weight: npt.NDArray[np.float32]) -> onnx.ModelProto:
    """The graph y = ScaledSilu(x @ weight): x float32 [batch, 8], weight float32 [8, 4], y float32 [batch, 4]."""
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "weight"], ["product"]),
            helper.make_node("ScaledSilu", ["product"], ["y"], domain=DOMAIN, alpha=ALPHA),
        ],
        "custom_op",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(weight, "weight")],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def answer(x: npt.NDArray[np.float32], weight: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """What the operator means, in numpy: no runtime has it, so nobody else can say."""
    product = x @ weight
    return np.asarray(product / (1 + np.exp(-np.float32(ALPHA) * product)), np.float32)


def main(folder: Path) -> None:
    """Write both files into a folder."""
    random = np.random.default_rng(0)
    weight = random.standard_normal((8, 4)).astype(np.float32)
    x = random.standard_normal((3, 8)).astype(np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model(weight), folder / "model.onnx")
    np.savez(folder / "samples.npz", x=x, y=answer(x, weight))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path.cwd())
