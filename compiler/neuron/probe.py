"""What of the Neuron SDK is on this machine. None of it is imported into this process.

That a package is installed says nothing: PyPI has placeholders under the SDK's names, which install cleanly and raise
ImportError at the first import. What counts is the compiler on PATH, and what it answers.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Literal

from artifacts.noun import Noun
from compiler.neuron.bounded_run import Ended, run_tool
from compiler.neuron.settings import PROGRAM

MINIMUM = (2, 16)
"""The first numbered compiler that knows every target and option of `NeuronOptions`: trn2 and --logical-nc-config came
with the release before it (Neuron 2.21 beta). What is documented here is that of 2.27; newer ones are not refused."""

INDEX = "the package index that AWS names in its guide to installing the Neuron SDK"
INSTALL = f'pip install "{PROGRAM}>={MINIMUM[0]}.{MINIMUM[1]}" from {INDEX}'
"""A version that no placeholder has, and where it is."""
PACKAGES = ("neuronx-cc", "torch-neuronx", "libneuronxla", "torch-xla", "nki")
"""Packages that a Neuron SDK brings, by their names on an index."""

ANSWER_SECONDS = 60.0
"""How long the compiler may take to say its version, and a module to be imported."""

_VERSION = re.compile(r"^NeuronX Compiler version ([0-9]+(?:\.[0-9]+)+(?:\+\w+)?)\s*$", re.MULTILINE)
PLACEHOLDER = "WRONG PACKAGE"
"""What a placeholder says."""


class Compiler(Noun):
    """A compiler that answered: its absolute path and its version, 2.27.5334.0+f702b353 say."""

    path: str
    version: str


class NoCompiler(Noun):
    """Why there is no compiler to use: in one word, and in a sentence. `path` is that of what was found, if anything.

    absent        no such program on PATH
    placeholder   a package of PyPI's that has the name and nothing else
    no-answer     it did not say its version in time, or ended with an error
    foreign       it said something, and no version of Neuron's compiler
    too-old       it is older than `MINIMUM`
    """

    reason: Literal["absent", "placeholder", "no-answer", "foreign", "too-old"]
    why: str
    path: str | None = None


class Sdk(Noun):
    """What is here: a compiler or none, and the versions of packages that are installed under the SDK's names.

    A package may be a placeholder, whatever its version says.
    """

    compiler: Compiler | NoCompiler
    packages: dict[str, str]


def probe(seconds: float = ANSWER_SECONDS) -> Sdk:
    """What of the SDK is here. The compiler is asked once in a process, unless PATH or sys.path change."""
    return _probe(os.environ.get("PATH", ""), tuple(sys.path), seconds)


def import_fault(module: str = "torch_neuronx", seconds: float = ANSWER_SECONDS) -> str:
    """Why a module cannot be imported, in a process of its own; "" if it can."""
    ended = _run([sys.executable, "-P", "-c", f"import {module}"], seconds, os.pathsep.join(filter(None, sys.path)))
    if ended.status == 0:
        return ""
    if PLACEHOLDER in ended.said:
        return f"{module} is PyPI's placeholder and not the SDK's, which is on {INDEX}"
    if ended.status is None:
        return f"{module} was not imported within {seconds:g} seconds"
    return f"{module} cannot be imported: {_last_line(ended) or f'its process ended with status {ended.status}'}"


@functools.cache
def _probe(path: str, paths: tuple[str, ...], seconds: float) -> Sdk:
    packages = _packages(paths)
    found = shutil.which(PROGRAM, path=path)
    compiler = _absent(packages) if found is None else _asked(str(Path(found).absolute()), seconds)
    return Sdk(compiler=compiler, packages=packages)


def _packages(paths: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in PACKAGES:
        distributions = metadata.distributions(name=name, path=list(paths))
        if (first := next(iter(distributions), None)) is not None:
            found[name] = first.version
    return found


def _absent(packages: dict[str, str]) -> NoCompiler:
    version = packages.get(PROGRAM)
    beside = Path(sys.executable).parent / PROGRAM
    if version is not None and numbers(version) < (2,):
        why = f"the package {PROGRAM} {version} is PyPI's placeholder and not the SDK's, which is of version 2 or later"
        return NoCompiler(reason="placeholder", why=why)
    if beside.is_file():
        return NoCompiler(reason="absent", why=f"{PROGRAM} is not on PATH; add {beside.parent} to it", path=str(beside))
    return NoCompiler(reason="absent", why=f"{PROGRAM} is not on PATH")


def _asked(path: str, seconds: float) -> Compiler | NoCompiler:
    """What the program at `path` is, by what it answers."""
    ended = _run([path, "--version"], seconds)
    if PLACEHOLDER in ended.said:
        return NoCompiler(reason="placeholder", why=f"{path} is PyPI's placeholder and not the SDK's", path=path)
    if ended.status is None:
        why = f"{path} --version did not answer within {seconds:g} seconds"
        return NoCompiler(reason="no-answer", why=why, path=path)
    if ended.status != 0:
        why = f"{path} --version ended with status {ended.status}: {_last_line(ended) or 'it said nothing'}"
        return NoCompiler(reason="no-answer", why=why, path=path)
    match = _VERSION.search(ended.said)
    if match is None:
        why = f"{path} --version gives no version of Neuron's compiler: {_last_line(ended) or 'it said nothing'}"
        return NoCompiler(reason="foreign", why=why, path=path)
    if numbers(match[1]) < MINIMUM:
        why = f"{path} is of version {match[1]}, needed is {MINIMUM[0]}.{MINIMUM[1]} or later"
        return NoCompiler(reason="too-old", why=why, path=path)
    return Compiler(path=path, version=match[1])


def _run(command: list[str], seconds: float, pythonpath: str | None = None) -> Ended:
    variables = {} if pythonpath is None else {"PYTHONPATH": pythonpath}
    with tempfile.TemporaryDirectory(prefix="unspool-", ignore_cleanup_errors=True) as folder:
        return run_tool(command, folder=Path(folder), seconds=seconds, variables={"TMPDIR": folder, **variables})


def numbers(version: str) -> tuple[int, ...]:
    """Major and minor."""
    return tuple(map(int, re.findall(r"[0-9]+", version.partition("+")[0])[:2]))


def _last_line(ended: Ended) -> str:
    return next((line.strip()[:200] for line in reversed(ended.said.splitlines()) if line.strip()), "")
