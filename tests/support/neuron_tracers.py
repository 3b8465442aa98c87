"""Doubles of the SDK's packages that trace, for want of the real ones. They compile nothing.

Each takes what AWS documents of the arguments of its `trace`, refuses the rest, and gives back what torch.jit traces,
with a buffer in it that is a FIXTURE of a NEFF, which no Neuron runtime would take. Tests alone put them, as packages
in a temporary folder, on the PYTHONPATH of a process of their own.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from tests.support.neff import FIXTURE, NeffFixture
from tests.support.neuronx_cc import WRONG_PACKAGE, parsed

Way = Literal[
    "success",
    "raises",
    "code",
    "hang",
    "killed",
    "text",
    "cut",
    "no-neff",
    "nothing",
    "placeholder",
    "broken",
    "mute",
]
"""How a double behaves, by the variable WAY."""

WAY = "FIXTURE_NEURON_TRACER"
TRACE = "FIXTURE_NEURON_TRACER_TRACE"
"""A folder in which it leaves what it was called with."""

VERSIONS = {"torch-neuronx": f"2.9.0.0.0+{FIXTURE}", "torch-neuron": f"1.13.1.0.0+{FIXTURE}"}

InstallTracer = Callable[..., Path]
"""Puts a double of this name, to behave in this way, where `version` is what its metadata says; gives TRACE."""


def install(folder: Path, name: str, version: str) -> None:
    """A package as pip would have left it, whose code is this module's."""
    module = name.replace("-", "_")
    (folder / module).mkdir(parents=True, exist_ok=True)
    double = "Neuronx" if name == "torch-neuronx" else "Neuron"
    code = f"from tests.support.neuron_tracers import {double}, imported\n\nimported()\n"
    code += "trace = Neuronx.trace\n" if double == "Neuronx" else "import torch\n\ntorch.neuron = Neuron\n"
    (folder / module / "__init__.py").write_text(code)
    facts = folder / f"{module}-{version}.dist-info"
    facts.mkdir(exist_ok=True)
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def imported() -> None:
    """What happens when the package is imported."""
    match _way():
        case "placeholder":
            raise ImportError(WRONG_PACKAGE)
        case "broken":
            raise ImportError("libnrt.so.1: cannot open shared object file")
        case "mute":
            time.sleep(600)


class Neuronx:
    """torch_neuronx, as the API documents it."""

    @staticmethod
    def trace(
        func: Any,
        example_inputs: Any,
        *_: Any,
        input_output_aliases: Any = {},  # noqa: B006 - the documented signature
        compiler_workdir: str | None = None,
        compiler_args: str | Sequence[str] | None = None,
        partitioner_config: Any = None,
        inline_weights_to_neff: bool = True,
        cpu_backend: bool = False,
    ) -> Any:
        """Trace for Inf2, Trn1 and Trn2."""
        assert not _, "positional arguments are deprecated"
        assert isinstance(compiler_args, list)
        parsed(["compile", "model.hlo.pb", "--framework", "XLA", *compiler_args, "--output", "model.neff"])
        numbers = {id(each): number for number, each in enumerate(example_inputs)}
        keywords = {
            "input_output_aliases": [[numbers[id(taken)], made] for taken, made in input_output_aliases.items()],
            "compiler_workdir": compiler_workdir,
            "compiler_args": compiler_args,
            "inline_weights_to_neff": inline_weights_to_neff,
            "cpu_backend": cpu_backend,
        }
        assert partitioner_config is None
        return _traced(func, example_inputs, keywords)


class Neuron:
    """torch.neuron, as torch-neuron makes it and documents it."""

    @staticmethod
    def trace(  # noqa: PLR0917 - the documented signature
        model: Any,
        example_inputs: Any,
        compiler_args: Sequence[str] | None = None,
        compiler_timeout: int | None = None,
        compiler_workdir: str | None = None,
        minimum_segment_size: int = 2,
        single_fusion_ratio_threshold: float = 0.6,
        fallback: bool = True,
        dynamic_batch_size: bool = False,
        separate_weights: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Trace for Inf1; what else there is goes to torch.jit.trace."""
        assert isinstance(compiler_args, list)
        assert compiler_args[::2] in ([], ["--neuroncore-pipeline-cores"])
        assert all(int(value) > 0 for value in compiler_args[1::2])
        keywords = {
            "compiler_args": compiler_args,
            "compiler_timeout": compiler_timeout,
            "compiler_workdir": compiler_workdir,
            "minimum_segment_size": minimum_segment_size,
            "single_fusion_ratio_threshold": single_fusion_ratio_threshold,
            "fallback": fallback,
            "dynamic_batch_size": dynamic_batch_size,
            "separate_weights": separate_weights,
        }
        return _traced(model, example_inputs, keywords, **kwargs)

    @staticmethod
    def analyze_model(model: Any, example_inputs: Any) -> str:
        """Which operators of a model the compiler takes."""
        module = _jit(model, example_inputs)
        kinds = sorted({node.kind() for node in module.inlined_graph.nodes()})
        return f"FIXTURE of an analysis: {', '.join(kinds)}"


def _traced(func: Any, example_inputs: Any, keywords: dict[str, Any], **more: Any) -> Any:
    import torch

    if folder := os.environ.get(TRACE):
        number = len(list(Path(folder).iterdir()))
        shapes = [[list(each.shape), str(each.dtype)] for each in example_inputs]
        Path(folder, f"{number}.json").write_text(json.dumps({"inputs": shapes, "keywords": keywords}))
    jit: Any = torch.jit
    save = jit.save
    match _way():
        case "raises":
            raise RuntimeError("an operator is not supported")
        case "code":
            raise RuntimeError("[ERROR] [NCC_EVRF007] Instructions generated by compiler exceed the typical limit.")
        case "hang":
            print("Still at it", flush=True)
            time.sleep(600)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "nothing":
            print("All is well")
            jit.save = lambda *_: None
        case "text":
            jit.save = lambda _, file: Path(file).write_bytes(b"FIXTURE, and no TorchScript")
        case "cut":
            jit.save = lambda module, file: _cut(save, module, Path(file))
        case "no-neff":
            return _jit(func, example_inputs, **more)
    neff = torch.frombuffer(bytearray(NeffFixture().to_bytes()), dtype=torch.uint8)

    class Fixture(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.func = func
            self.register_buffer(FIXTURE, neff)

        def forward(self, *inputs: torch.Tensor) -> Any:
            return self.func(*inputs)

    return _jit(Fixture(), example_inputs, **more)


def _jit(func: Any, example_inputs: Any, **more: Any) -> Any:
    import torch

    assert isinstance(func, torch.nn.Module)
    assert not isinstance(func, torch.jit.ScriptModule), "torch.jit.trace would hand it back"
    assert isinstance(example_inputs, tuple)
    return torch.jit.trace(func, example_inputs, check_trace=False, **more)  # type: ignore[no-untyped-call]


def _cut(save: Any, module: Any, file: Path) -> None:
    save(module, str(file))
    file.write_bytes(file.read_bytes()[:-100])


def _way() -> Way:
    return next(way for way in get_args(Way) if way == os.environ.get(WAY, "success"))
