"""The command line as its users see it: in this process, in one of its own, or with modules that do not import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from compiler.cli.main import main
from tests.support.models import PROJECT


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it printed."""

    status: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document that is all of stdout, without the extensions that JSON does not have."""
        document = json.loads(self.stdout, parse_constant=_refuse)
        assert isinstance(document, dict)
        return document

    @property
    def error(self) -> dict[str, str]:
        """The only error of the JSON document."""
        (error,) = self.document["errors"]
        assert set(error) == {"stage", "subject", "message", "hint"}
        return dict(error)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def unspool(capsys: pytest.CaptureFixture[str], *arguments: object) -> Outcome:
    """Run a command in this process."""
    capsys.readouterr()
    status = main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return Outcome(status, printed.out, printed.err)


def unspool_process(
    *arguments: object,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    blocked: Sequence[str] = (),
) -> Outcome:
    """Run a command in a process of its own, where the modules in `blocked` cannot be imported."""
    command = [sys.executable, "-c", _SCRIPT, ",".join(blocked), *map(str, arguments)]
    done = subprocess.run(
        command, cwd=cwd, env=child_environment(environment), capture_output=True, text=True, check=False
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def child_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment, from which the project's packages can be imported."""
    return {**os.environ, "PYTHONPATH": str(PROJECT), **(more or {})}


_SCRIPT = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

BLOCKED = set(sys.argv[1].split(","))
sys.meta_path.insert(0, Blocked())
sys.path.pop(0)  # the folder that it runs in, which "-c" puts there

from compiler.cli.main import run
run(sys.argv[2:])
"""
