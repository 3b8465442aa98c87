"""onnx2torch as a second opinion: it converts in a process of its own, and its result is checked like our own.

onnx2torch imports torchvision, which does not load beside every build of torch. In the child a stand-in takes its
place (see onnx2torch_child.py); nothing of that is ever seen here.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from artifacts.errors import MissingToolError, ModelFormatError, Problem, SourceError, UnsupportedError
from artifacts.samples import Arrays, archive_bytes
from compiler.child_process import command_of, environment

if TYPE_CHECKING:
    from compiler.targets.target import Translations
    from passes.onnx_to_torch.convert import Converted
    from passes.onnx_to_torch.registry import Key
    from passes.onnx_to_torch.source import Source

PACKAGE = "onnx2torch"
INSTALL = "pip install --no-deps onnx2torch==1.5.15"
"""Without --no-deps pip would bring torchvision, and with it another build of torch."""


@dataclass(frozen=True)
class Onnx2TorchConverter:
    """The package onnx2torch, in the installed version."""

    runs_bodies: ClassVar[bool] = False

    version: str

    @classmethod
    def installed(cls) -> Onnx2TorchConverter:
        """Raises MissingToolError if the package is not installed."""
        try:
            return cls(metadata.version(PACKAGE))
        except metadata.PackageNotFoundError as error:
            hint = f"{INSTALL} (its other needs are installed already)"
            raise MissingToolError.of("convert", PACKAGE, "is not installed", hint) from error

    def tools(self) -> Mapping[str, str]:
        """Its version."""
        return {PACKAGE: self.version}

    def gaps(self, source: Source) -> tuple[Problem, ...]:
        """That the model is too large. The child looks for all others before it converts anything."""
        from passes.onnx_to_torch.source import LARGEST_MESSAGE

        weights = (value.const_value for value in source.model.graph.initializers.values())
        size = sum(weight.nbytes for weight in weights if weight is not None)
        if size <= LARGEST_MESSAGE:
            return ()
        message = f"has {size} bytes of weights, and onnx2torch takes models of at most 2 GiB"
        return (Problem("convert", source.path.name, message, "use Unspool's own converter"),)

    def convert(self, source: Source, name: str, inputs: Arrays) -> Converted:
        """Convert in the child, and make a Function of the program that it leaves."""
        from compiler.converters.program_file import load_program
        from passes.onnx_to_torch.convert import check_sample, source_signature, to_function

        declared = source_signature(source)
        check_sample(declared, inputs)
        with tempfile.TemporaryDirectory(prefix="unspool-") as folder:
            job = Path(folder)
            (job / INPUTS).write_bytes(archive_bytes(inputs))
            answer = _ask(job, "convert", str(source.path.resolve()), str(source.data_folder))
            body = load_program(job / PROGRAM)
        return replace(to_function(name, body, declared, answer["sources"]), fixed=answer["fixed"])

    def translations(self) -> Translations:
        """None: what it makes is ATen."""
        return MappingProxyType({})

    def operators(self) -> tuple[Key, ...]:
        """Those for which it needs no torchvision."""
        with tempfile.TemporaryDirectory(prefix="unspool-") as folder:
            answer = _ask(Path(folder), "operators")
        return tuple((domain, name, since) for domain, name, since in answer["operators"])


INPUTS, PROGRAM, ANSWER = "inputs.npz", "program.pt2", "answer.json"
"""Files of a job: what the child is given, and what it leaves."""

_ERRORS: Mapping[str, type[SourceError]] = MappingProxyType(
    {error.__name__: error for error in (ModelFormatError, UnsupportedError)}
)


def _ask(job: Path, *arguments: str) -> dict[str, Any]:
    """Run the child in the job's folder. Raises the error that it reports, or SourceError if it ends without a word."""
    command = command_of("compiler.converters.onnx2torch_child", str(job), *arguments)
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if not (job / ANSWER).exists():
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise SourceError.of("convert", PACKAGE, f"its process ended with status {done.returncode}: {said}")
    answer: dict[str, Any] = json.loads((job / ANSWER).read_text())
    if "error" in answer:
        raise _ERRORS.get(answer["error"], SourceError)(*(Problem(**problem) for problem in answer["problems"]))
    return answer
