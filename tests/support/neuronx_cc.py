"""A double of neuronx-cc's command line, for want of the real one. It compiles nothing.

It takes what AWS documents of the arguments ("Neuron Compiler CLI Reference Guide", Neuron 2.32) and refuses the rest,
and ends in the ways that documents and public reports tell of. What it writes on success is a FIXTURE that no Neuron
runtime would take. It is put on PATH by tests alone, as a script in a temporary folder:

    python tests/support/neuronx_cc.py compile model.hlo.pb --framework XLA --target inf2 --output model.neff
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args

from tests.support.neff import FIXTURE, NeffFixture

Way = Literal[
    "success",
    "uncompressed",
    "chatty",
    "wordy",
    "leftover",
    "code",
    "code-after-warning",
    "error",
    "silent",
    "workers-killed",
    "hang",
    "killed",
    "killed-in-a-shell",
    "crash",
    "cut",
    "text",
    "digest",
    "nothing",
    "folder",
    "old",
    "newer",
    "placeholder",
    "foreign",
    "mute",
    "failing",
]
"""How it behaves, by the variable WAY."""

WAY = "FIXTURE_NEURONX_CC"
TRACE = "FIXTURE_NEURONX_CC_TRACE"
"""A folder in which it leaves the ids of its processes, its arguments, its folder and where it puts temporary files."""

VERSION = f"2.27.0.0+{FIXTURE}"
WRONG_PACKAGE = "WRONG PACKAGE. Please install the package from Neuron Repository"

_PREFIX = "2026-01-02T03:04:05Z ERROR 12345 [neuronx-cc]: "


@dataclass(frozen=True)
class Double:
    """The double on PATH: where it is, where it leaves what it saw, and the folder that temporary folders are in."""

    program: Path
    traces: Path
    temporary: Path

    def saw(self, name: str) -> str:
        return (self.traces / name).read_text()


Install = Callable[[Way], Double]


class _RefusalError(Exception):
    pass


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _RefusalError(message)


def grammar() -> argparse.ArgumentParser:
    """The documented arguments of `neuronx-cc compile`."""
    parser = _Parser(prog="neuronx-cc", allow_abbrev=False, add_help=False)
    parser.add_argument("command", choices=["compile"])
    parser.add_argument("model_files", nargs=1)
    parser.add_argument("--framework", choices=["XLA"], required=True)
    parser.add_argument("--target", choices=["inf2", "trn1", "trn1n", "trn2"], required=True)
    parser.add_argument("--model-type", choices=["generic", "transformer", "unet-inference"], default="generic")
    parser.add_argument("--auto-cast", choices=["none", "matmult", "all"], default="none")
    parser.add_argument("--auto-cast-type", choices=["bf16", "fp16", "tf32", "fp8_e4m3"])
    parser.add_argument("--native-int64", choices=["default", "enabled", "disabled"])
    parser.add_argument("--implicit-integer-downcast")
    parser.add_argument("--distribution-strategy", choices=["llm-training"])
    parser.add_argument("--logical-nc-config", "-lnc", choices=[1, 2], type=int)
    parser.add_argument("--optlevel", "-O", choices=[1, 2, 3], type=int, default=2)
    for flag in (
        "--enable-mixed-precision-accumulation",
        "--disable-mixed-precision-accumulation",
        "--enable-saturate-infinity",
        "--enable-fast-context-switch",
        "--enable-fast-loading-neuron-binaries",
    ):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--logfile", default="log-neuron-cc.txt")
    # A default is documented, file.neff; whoever relies on it would not find what was compiled.
    parser.add_argument("--output", required=True)
    parser.add_argument("--verbose", choices=["info", "warning", "error", "critical", "debug"], default="warning")
    return parser


def parsed(arguments: Sequence[str]) -> dict[str, Any]:
    """The documented meaning of a command's arguments, without the program. Raises ValueError for what has none."""
    try:
        known, unknown = grammar().parse_known_args(list(arguments))
    except _RefusalError as refusal:
        raise ValueError(f"neuronx-cc: error: {refusal}") from refusal
    if unknown:
        unrecognized = " ".join(unknown)
        raise ValueError(
            f"[ERROR] [NCC_EARG002] Illegal argument(s) - the following argument(s) are unrecognized: {unrecognized}"
        )
    if known.logical_nc_config is not None and known.target != "trn2":
        raise ValueError("[ERROR] [NCC_EARG001] Unsupported Logical Neuron Core (LNC) configuration.")
    return vars(known)


def install(folder: Path) -> Path:
    """Put the double into a folder, as a program named neuronx-cc. Gives its path."""
    folder.mkdir(parents=True, exist_ok=True)
    project = Path(__file__).parents[2]
    program = folder / "neuronx-cc"
    here = shlex.join([sys.executable, "-P", str(Path(__file__))])
    program.write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(project))} exec {here} "$@"\n')
    program.chmod(0o755)
    return program


def main(arguments: Sequence[str]) -> int:
    way: Way = next(way for way in get_args(Way) if way == os.environ.get(WAY, "success"))
    _leave("pid", str(os.getpid()))
    if way == "placeholder":
        print(f'Traceback (most recent call last):\nImportError: "{WRONG_PACKAGE}"', file=sys.stderr)
        return 1
    if "--version" in arguments:
        return _version(way)
    _leave("arguments", shlex.join(arguments))
    _leave("folder", str(Path.cwd()))
    _leave("temporary", os.environ.get("TMPDIR", ""))
    _leave("pythonpath", os.environ.get("PYTHONPATH", ""))
    _leave("source", Path(arguments[1]).read_text("latin-1") if len(arguments) > 1 else "")
    Path(os.environ.get("TMPDIR", "."), "left-by-the-double").write_text("")
    try:
        meant = parsed(arguments)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return _compiled(way, Path(meant["output"]))


def _version(way: Way) -> int:
    if way == "mute":
        time.sleep(600)
    if way == "failing":
        print("ModuleNotFoundError: No module named 'numpy'", file=sys.stderr)
        return 1
    if way == "foreign":
        print("neuronx 3.1, a library of neural networks in X")
        return 0
    version = {"old": "2.15.128.0+56dc5a86", "newer": "3.0.1.0+abcdef01"}.get(way, VERSION)
    print(f"NeuronX Compiler version {version}\n\nPython version 3.12.1\nHWM version {version}\nNumPy version 2.4.0")
    return 0


def _compiled(way: Way, output: Path) -> int:  # noqa: PLR0911, PLR0912 - a list of ways
    neff = NeffFixture().to_bytes()
    match way:
        case "code":
            text = "[ERROR] [NCC_EVRF007] Instructions generated by compiler 6,000,000 exceeds the typical limit."
            print(f"{_PREFIX}{text}\n{_PREFIX}Take less.\n{_PREFIX}\n{_PREFIX}More of it.", file=sys.stderr)
            return 70
        case "code-after-warning":
            print("[WARNING] [NCC_WABC001] something is odd\n[ERROR] [NCC_EXYZ123] something is wrong")
            return 1
        case "error":
            print("".join(f"{_PREFIX}{line}\n" for line in ("*****", " An Internal Compiler Error has occurred", "")))
            print(f"{_PREFIX}Error message:  unexpected operator\n{_PREFIX}\n{_PREFIX}Error class: AssertionError")
            return 70
        case "silent":
            return 70
        case "workers-killed":
            print("[F137] neuronx-cc was forcibly killed", file=sys.stderr)
            return 70
        case "hang":
            _leave("child", str(_child().pid))
            print("Still at it", flush=True)
            time.sleep(600)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "killed-in-a-shell":
            return 137
        case "crash":
            print("terminate called", flush=True)
            os.kill(os.getpid(), signal.SIGSEGV)
        case "nothing":
            print("All is well")
            return 0
        case "folder":
            output.mkdir()
            return 0
        case "leftover":
            _leave("child", str(_child().pid))
        case "chatty":
            print("Beginning\n" + "." * 1_000_000 + "\nEnd", flush=True)
        case "wordy":
            for number in range(3):
                print(f"Pass {number}", flush=True)
                time.sleep(0.2)
        case "uncompressed":
            neff = NeffFixture(compressed=False).to_bytes()
        case "cut":
            neff = neff[:-7]
        case "text":
            neff = b"FIXTURE, and no NEFF"
        case "digest":
            neff = NeffFixture(digest=b"FIXTURE digest!!").to_bytes()
    output.write_bytes(neff)
    return 0


def _child() -> subprocess.Popen[bytes]:
    """A process of its own that holds its stdout, as workers of a compiler would."""
    return subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])


def _leave(name: str, text: str) -> None:
    """Whole or not at all: of two doubles at once one may be killed while it writes what both leave."""
    if folder := os.environ.get(TRACE):
        own = Path(folder, f"{name}.{os.getpid()}.part")
        own.write_text(text)
        own.replace(Path(folder, name))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
