"""Become a vendor's tool that ends when the process ends that asked for it, even if that is killed.

    python -P -m compiler.neuron.keeper PARENT PYTHONPATH TOOL ARGUMENT...

What the kernel was asked for survives an exec (Linux). PYTHONPATH is what the tool is to see of it: this module's own
is none of its business.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from compiler.child_process import end_with_parent

NOT_RUN = 127
"""The status for a tool that cannot be run, as a shell gives it."""


def main(parent: str, pythonpath: str, *command: str) -> NoReturn:
    """Become the tool, or end with NOT_RUN and the reason on stderr."""
    end_with_parent(int(parent))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    try:
        os.execve(command[0], command, environment | ({"PYTHONPATH": pythonpath} if pythonpath else {}))
    except OSError as error:
        sys.exit(_refuse(command[0], error))


def _refuse(tool: str, error: OSError) -> int:
    print(f"{tool} cannot be run: {error.strerror}", file=sys.stderr)
    return NOT_RUN


if __name__ == "__main__":
    main(*sys.argv[1:])
