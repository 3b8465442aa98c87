"""A Ray cluster of several nodes on loopback. What was started is ended by its own processes: others' stay."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.support.cli import child_environment

PATIENCE = 120.0
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}


@dataclass(eq=False)
class Node:
    """A node: the process that holds it up, and those below."""

    process: subprocess.Popen[bytes]

    def processes(self) -> list[psutil.Process]:
        """Every process of the node that lives."""
        with contextlib.suppress(psutil.NoSuchProcess):
            own = psutil.Process(self.process.pid)
            return [own, *own.children(recursive=True)]
        return []

    def is_compiling(self) -> bool:
        """Whether a worker was forked on it."""
        return any("forkserver" in " ".join(_command(process)) for process in self.processes())

    def kill(self) -> None:
        """End it at once, as a machine ends whose power fails."""
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()


@dataclass(eq=False)
class Cluster:
    """The head's address, and the nodes, the head first."""

    address: str
    environment: Mapping[str, str]
    folder: Path
    nodes: list[Node] = field(default_factory=list)

    def add(self, *flags: str) -> Node:
        """Start a node of one processor."""
        if self.nodes:
            role = [f"--address={self.address}"]
        else:
            role = ["--head", f"--port={self.address.rpartition(':')[2]}", "--include-dashboard=false"]
        ray = Path(sys.executable).with_name("ray")
        command = [str(ray), "start", *role, "--node-ip-address=127.0.0.1", "--num-cpus=1", "--block"]
        with (self.folder / f"node-{len(self.nodes)}.log").open("wb") as log:
            process = subprocess.Popen(
                [*command, "--disable-usage-stats", f"--temp-dir={self.folder / 'r'}", *flags],
                env=child_environment({**QUIET, **self.environment}),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        node = Node(process)
        self.nodes.append(node)
        self._await(node)
        return node

    def _await(self, node: Node) -> None:
        """Wait until the node answers, and Ray counts as many as there are."""
        script = f"import ray; ray.init(address={self.address!r}, _node_ip_address='127.0.0.1', log_to_driver=False); "
        script += "print(sum(node['Alive'] for node in ray.nodes()))"
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if node.process.poll() is not None:
                break
            done = subprocess.run(
                [sys.executable, "-W", "ignore", "-c", script],
                env=child_environment({**QUIET, **self.environment}),
                capture_output=True,
                text=True,
                check=False,
            )
            if done.stdout.strip() == str(sum(each.process.poll() is None for each in self.nodes)):
                return
        log = (self.folder / f"node-{len(self.nodes) - 1}.log").read_text()
        raise RuntimeError(f"the node did not start: {log}")


@contextlib.contextmanager
def ray_cluster(folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[Cluster]:
    """A cluster with its head, for as long as the block lasts. `folder` has a short path: sockets lie in it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    cluster = Cluster(f"127.0.0.1:{port}", environment or {}, folder)
    try:
        cluster.add()
        yield cluster
    finally:
        for node in reversed(cluster.nodes):
            node.kill()


def _command(process: psutil.Process) -> list[str]:
    try:
        found: list[str] = process.cmdline()
        return found
    except psutil.Error:
        return []
