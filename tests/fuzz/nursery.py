"""Processes for the source model that begin as forks of one that has imported everything: 10 ms each, not 500.

What a child runs is compiler/source_child.py, in a process of its own as ever: it may crash, hang or be killed. The
one that forks is itself forked before torch is imported, so that it has a single thread.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import IO, Any

PIPE, DEVNULL = -1, -3


class Child:
    """As much of `subprocess.Popen` as source_runner.py uses."""

    def __init__(self, pid: int, stdin: IO[bytes], stdout: IO[bytes]) -> None:
        self.pid = pid
        self.stdin = stdin
        self.stdout = stdout
        self.returncode: int | None = None

    def kill(self) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode


class Nursery:
    """The process that forks, and a stand-in for the module `subprocess`. Ends with whoever made it."""

    def __init__(self) -> None:
        import compiler.source_child
        from artifacts.onnxruntime_module import import_onnxruntime

        import_onnxruntime("fuzz")
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._socket, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if os.fork() == 0:
            self._socket.close()
            _serve(far, compiler.source_child.main)
        far.close()
        self.subprocess = SimpleNamespace(Popen=self.start, PIPE=PIPE, DEVNULL=DEVNULL)

    def start(self, command: Sequence[str], **_: Any) -> Child:
        """Run `python -P -m compiler.source_child ARGUMENTS...`; standard error goes nowhere."""
        arguments = command[command.index("compiler.source_child") + 1 :]
        (given, stdin), (stdout, answered) = os.pipe(), os.pipe()
        socket.send_fds(self._socket, ["\0".join(arguments).encode(errors="surrogateescape")], [given, answered])
        for descriptor in (given, answered):
            os.close(descriptor)
        pid = int(self._socket.recv(32))
        return Child(pid, os.fdopen(stdin, "wb"), os.fdopen(stdout, "rb"))


def _serve(orders: socket.socket, run: Any) -> None:
    """Fork a child for each order, until there are no more. Its parent ends at once: it becomes the worker's."""
    while True:
        order, descriptors, _, _ = socket.recv_fds(orders, 1 << 16, 2)
        if not order:
            os._exit(0)
        middle = os.fork()
        if middle == 0:
            child = os.fork()
            if child:
                orders.send(str(child).encode())
                os._exit(0)
            _run(order.decode(errors="surrogateescape").split("\0"), descriptors, run)
        os.waitpid(middle, 0)
        for descriptor in descriptors:
            os.close(descriptor)


def _run(arguments: list[str], descriptors: Sequence[int], run: Any) -> None:
    status = 1
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        for target, source in enumerate((*descriptors, nothing)):
            os.dup2(source, target)
        sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
        while os.getppid() != int(arguments[0]):
            os.sched_yield()
        run(arguments)
        status = 0
    finally:
        os._exit(status)


_PR_SET_CHILD_SUBREAPER = 36
