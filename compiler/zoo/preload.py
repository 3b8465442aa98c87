"""What the process imports that workers are forked from: all that a compilation needs and that starts no thread."""

from importlib import import_module

for _name in (
    "onnxruntime",
    "torch",
    "torch.onnx._internal.exporter._core",
    "compiler.backend",
    "compiler.frontend",
    "compiler.parts.opening",
    "compiler.provenance",
    "compiler.zoo.making",
    "compiler.zoo.worker",
):
    import_module(_name)
