"""How nodes of each operator are drawn: one family of operators a file, as under `passes/onnx_to_torch/ops/`."""
