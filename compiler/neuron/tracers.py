"""Find the SDK's packages that trace, without importing them into this process.

They want a torch of their own, which is not Unspool's, so they may be in an environment of their own: the variable
names its Python. What counts is that the package there has a version that is used here, and can be imported; PyPI's
placeholders cannot.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from artifacts.errors import TargetError
from artifacts.noun import Noun
from compiler.neuron.bounded_run import Ended, run_tool
from compiler.neuron.ended import last_words
from compiler.neuron.probe import ANSWER_SECONDS, INDEX, PLACEHOLDER, numbers
from compiler.neuron.settings import environment_flags
from compiler.neuron.tracing import FLAG, TracerName, Tracing

PYTHON = "UNSPOOL_NEURON_PYTHON"
"""The variable that names the Python of the environment that has the SDK; this one's, if it is not set."""


@dataclass(frozen=True)
class Package:
    """One of the SDK's packages: versions, major and minor, from the first to the last that are used here."""

    first: tuple[int, int]
    last: tuple[int, int]
    newer: str

    @property
    def wanted(self) -> str:
        """Which versions are."""
        return " to ".join(dict.fromkeys(map(_dotted, (self.first, self.last))))


PACKAGES: Mapping[TracerName, Package] = MappingProxyType(
    {
        "torch-neuronx": Package((1, 13), (2, 9), "2.9 is the last that traces; newer ones compile with torch.compile"),
        "torch-neuron": Package((1, 13), (1, 13), "Inf1's is that of torch 1.13, and archived"),
    }
)
"""Versions that have every option that is used here."""

_ASK = """
import sys
from importlib import metadata

try:
    print("version " + metadata.version(sys.argv[1]), flush=True)
except metadata.PackageNotFoundError:
    sys.exit("it is not installed")
__import__(sys.argv[1].replace("-", "_"))
"""


class Tracer(Noun):
    """A package that can be imported: its name and version, and the absolute path of the Python that has it."""

    name: TracerName
    version: str
    python: str


def need_of(name: TracerName) -> str:
    """What an environment has to have."""
    return f"{name} {PACKAGES[name].wanted}, from {INDEX}"


def find_tracer(name: TracerName, seconds: float = ANSWER_SECONDS) -> Tracer:
    """The package of that name, asked once in a process. Raises TargetError if there is none that is used here."""
    seen = tuple(os.environ.get(each, "") for each in (PYTHON, "PATH", "PYTHONPATH"))
    found = _find(name, seen, seconds)
    if isinstance(found, str):
        hint = f"needs {need_of(name)}; name the Python of its environment in {PYTHON}"
        raise TargetError.of("target", f"{FLAG} {name}", found, hint)
    return found


def tracer_tools(tracing: Tracing) -> dict[str, str]:
    """The package that traces, and the flags that its compiler finds in the environment; nothing if nobody traces.

    Raises TargetError if it is asked for and not here.
    """
    if tracing.tracer is None:
        return {}
    return {tracing.tracer: f"{find_tracer(tracing.tracer).version} {environment_flags()}".strip()}


@functools.cache
def _find(name: TracerName, seen: tuple[str, ...], seconds: float) -> Tracer | str:
    """The tracer, or why there is none."""
    asked = seen[0] or sys.executable
    python = shutil.which(asked, path=seen[1])
    if python is None:
        return f"{asked} is no program"
    python = str(Path(python).absolute())
    with tempfile.TemporaryDirectory(prefix="unspool-", ignore_cleanup_errors=True) as folder:
        command = [python, "-c", _ASK, name]
        ended = run_tool(command, folder=Path(folder), seconds=seconds, variables={"TMPDIR": folder})
    version = next(iter(re.findall(r"^version (\S+)$", ended.said, re.MULTILINE)), "")
    if fault := _fault(PACKAGES[name], version, ended, seconds):
        return f"{name} of {python} {fault}"
    return Tracer(name=name, version=version, python=python)


def _fault(package: Package, version: str, ended: Ended, seconds: float) -> str:
    """Why the package cannot be used; "" if it can."""
    if PLACEHOLDER in ended.said:
        return f"{version} is PyPI's placeholder and not the SDK's"
    if version and numbers(version) > package.last:
        return f"{version} is too new: {package.newer}"
    if version and numbers(version) < package.first:
        return f"{version} is too old"
    if ended.status is None:
        return f"was not imported within {seconds:g} seconds"
    if not version or ended.status != 0:
        return f"cannot be imported: {last_words(ended)}"
    return ""


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
