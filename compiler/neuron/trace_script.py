"""Trace the parts of a model for AWS Neuron, and put them together.

    python NAME.trace.py --output traced.pt
    python NAME.trace.py --analyze

This runs where AWS's SDK is, with Python 3.8 or later, torch and the SDK's package alone: what it takes from a bundle
are parts that were traced for the CPU, and their weights. Which parts, and what the SDK is told, is said at the end.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import torch


def main(job: Any, arguments: Sequence[str] | None = None) -> int:
    """Trace what the job says; 0 if the model was written."""
    home = Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description="Trace the parts of a model for AWS Neuron.")
    parser.add_argument("--output", type=Path, metavar="FILE.pt", help="the traced model to write")
    parser.add_argument("--weights", type=Path, default=home, metavar="BUNDLE", help="whose weights to take")
    parser.add_argument("--workdir", type=Path, help="where the compiler puts its files, and leaves them")
    parser.add_argument("--timeout", type=int, metavar="SECONDS", help="how long a compiler may take")
    parser.add_argument("--analyze", action="store_true", help="tell what the compiler takes, and trace nothing")
    given = parser.parse_args(arguments)
    if not given.analyze and given.output is None:
        parser.error("--output FILE.pt is needed, or --analyze")
    if job["tracer"] != "torch-neuron" and (given.analyze or given.timeout is not None):
        parser.error("--analyze and --timeout are of torch-neuron, and this is for " + job["tracer"])
    sdk = _sdk(job["tracer"])
    traced = []
    for part in job["parts"]:
        print("part " + part["role"], flush=True)
        module = loaded(str(home / part["file"]), given.weights, part)
        examples = tuple(torch.zeros(each["shape"], dtype=getattr(torch, each["dtype"])) for each in part["inputs"])
        if given.analyze:
            print(sdk.analyze_model(module, examples))
            continue
        keywords = dict(job["keywords"])
        if part["aliases"]:
            keywords["input_output_aliases"] = {examples[taken]: made for taken, made in part["aliases"]}
        if given.workdir is not None:
            keywords["compiler_workdir"] = str(given.workdir / part["role"])
        if given.timeout is not None:
            keywords["compiler_timeout"] = given.timeout
        if job["tracer"] == "torch-neuronx" and not any(Path("/dev").glob("neuron*")):
            keywords["cpu_backend"] = True
        with torch.no_grad():
            traced.append(sdk.trace(module, examples, **keywords))
    if not given.analyze:
        torch.jit.save(_together(job, traced), str(given.output))
    return 0


def _sdk(tracer: str) -> Any:
    """The module that has `trace`: torch-neuron puts it into torch."""
    module = importlib.import_module(tracer.replace("-", "_"))
    return torch.neuron if tracer == "torch-neuron" else module  # type: ignore[attr-defined]


class _Part(torch.nn.Module):
    """Not a module of TorchScript, which torch.jit.trace would hand back untraced."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *inputs: torch.Tensor) -> Any:
        """Call the part."""
        return self.inner(*inputs)


def loaded(file: str | IO[bytes], bundle: Path, part: Any) -> torch.nn.Module:
    """A part with its weights."""
    inner = torch.jit.load(file, map_location="cpu")  # type: ignore[no-untyped-call]
    for name, place in part["weights"].items():
        setattr(inner, name, _weight(bundle, place))
    return _Part(inner).eval()


def _weight(bundle: Path, place: Any) -> torch.Tensor:
    """The elements at a place in a file of the bundle."""
    dtype = getattr(torch, place["dtype"])
    if not place["bytes"]:
        return torch.zeros(place["shape"], dtype=dtype)
    with (bundle / place["file"]).open("rb") as file:
        file.seek(place["offset"])
        data = bytearray(file.read(place["bytes"]))
    return torch.frombuffer(data, dtype=dtype).reshape(place["shape"])


class _Whole(torch.jit.ScriptModule):
    def __init__(self, parts: dict[str, torch.jit.ScriptModule]) -> None:
        super().__init__()
        for role, module in parts.items():
            setattr(self, role, module)


def _together(job: Any, traced: Sequence[torch.jit.ScriptModule]) -> torch.jit.ScriptModule:
    """The one part there is, or all with the loop around them."""
    if job["loop"] is None:
        return traced[0]
    whole = _Whole({part["role"]: module for part, module in zip(job["parts"], traced)})  # noqa: B905 - new in 3.10
    whole.define(job["loop"])
    return whole


# ---- what is traced ----
JOB = json.loads("null")

if __name__ == "__main__":
    sys.exit(main(JOB))
