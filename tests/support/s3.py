"""An S3-protocol server in a process of its own, on loopback."""

from __future__ import annotations

import contextlib
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

ACCESS_KEY, SECRET_KEY = "access-key-of-a-test", "secret-key-of-a-test"
PATIENCE = 60.0


def environment(endpoint: str) -> Mapping[str, str]:
    """What makes S3 URLs mean the server at an endpoint, and nothing else."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str]:
    """The endpoint of a server that lives as long as the block; it holds its objects in memory."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (folder / "server.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            endpoint = f"http://127.0.0.1:{port}"
            _await(endpoint, process)
            yield endpoint
        finally:
            process.terminate()


def make_bucket(endpoint: str) -> str:
    """The URL of an empty bucket of its own."""
    name = f"bucket-{secrets.token_hex(8)}"
    with urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{name}", method="PUT"), timeout=PATIENCE):
        return f"s3://{name}"


def _await(endpoint: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{endpoint}/", timeout=5):
            return
        time.sleep(0.05)
    raise RuntimeError(f"the server did not start: status {process.poll()}")
