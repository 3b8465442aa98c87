"""What the process does that workers are forked from: it imports what a compilation needs, and translates one layer.

The first translation of a process makes tables that the others find made: half a second that no worker then takes. No
thread may be running when it is done: a fork has the one that forks, and the locks that the others hold.
"""

from __future__ import annotations

from importlib import import_module

MODULES = (
    "torch",
    "torch.onnx._internal.exporter._core",
    "compiler.backend",
    "compiler.emit_onnx",
    "compiler.frontend",
    "compiler.parts.opening",
    "compiler.provenance",
    "compiler.targets.onnxruntime",
    "compiler.zoo.making",
    "compiler.zoo.worker",
)


def preload() -> None:
    """Do all of it."""
    for name in MODULES:
        import_module(name)
    import torch

    from compiler.key import own_digest
    from compiler.onnx_translations import OPSET, TRANSLATIONS
    from compiler.torch_onnx import one_table, quiet

    torch.set_num_threads(1)
    own_digest()
    layer, x = torch.nn.Linear(2, 2), torch.zeros(2, 2)
    with quiet(), one_table():
        program = torch.export.export(layer, (x,), dynamic_shapes={"input": {0: torch.export.Dim.AUTO}})
        torch.onnx.export(
            program,
            (),
            dynamo=True,
            optimize=False,
            opset_version=OPSET,
            verbose=False,
            custom_translation_table=dict(TRANSLATIONS),
        )


preload()
