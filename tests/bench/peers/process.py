"""A contestant in a process of its own, seen from the process that gives the orders."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.bench.cases import BUILD
from tests.bench.peers.contestants import Contestant
from tests.bench.peers.models import PeerModel
from tests.bench.peers.protocol import Answer, Greeting, Order
from tests.support.memory import high_water
from tests.support.models import PROJECT

PEERS = PROJECT / "build" / "peers" / "bin" / "python"
"""The interpreter of the environment that `make peers` makes."""

FOLDER = BUILD / "peers"
"""Models in all their forms; kept from one run to the next."""

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "PYTHONPATH": str(PROJECT),
}
"""One thread for everybody, and nobody looks anything up."""


class Process:
    """Also a context manager that ends it. What the process prints beside answers goes to a log beside the model."""

    def __init__(self, contestant: Contestant, model: PeerModel, folder: Path) -> None:
        """Start it, and wait until it can take orders. Raises RuntimeError, with its log, if it fails."""
        self._log = folder / f"{contestant.name}.log"
        python = sys.executable if contestant.is_ours else str(PEERS)
        module = "tests.bench.peers.child"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [python, "-m", module, contestant.name, model.name, str(folder)],
                cwd=PROJECT,
                env={**os.environ, **ENVIRONMENT},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.versions = Greeting.of(self._line()).versions

    def ask(self, order: Order) -> Answer:
        """Have it decode. Raises RuntimeError, with its log, if it fails."""
        assert self._process.stdin is not None
        print(order.line(), file=self._process.stdin, flush=True)
        return Answer.of(self._line())

    @property
    def peak_bytes(self) -> int:
        """The most memory that the process had so far, mapped files counted in; 0 where there is no /proc."""
        return high_water(self._process.pid)

    def _line(self) -> str:
        assert self._process.stdout is not None
        if line := self._process.stdout.readline():
            return line
        self._process.wait()
        self.close()
        raise RuntimeError(f"a contestant failed:\n{self._log.read_text()}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            stream.close()


def run_in_peers(module: str, *arguments: str | Path) -> None:
    """Run a module of the project with the interpreter of the peers. Raises RuntimeError, with what it printed."""
    if not PEERS.exists():
        raise RuntimeError(f"{PEERS} is not there: `make peers` makes it")
    finished = subprocess.run(
        [PEERS, "-m", module, *arguments],
        cwd=PROJECT,
        env={**os.environ, **ENVIRONMENT},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if finished.returncode:
        raise RuntimeError(f"{module} failed:\n{finished.stdout}")
