"""What neuronx-cc is told, and the command that tells it.

The options are those of AWS's documentation of Neuron 2.32 ("Neuron Compiler CLI Reference Guide"). All that decide
the result are written out: defaults have changed, as that of --auto-cast from matmult to none with Neuron 2.27.
"""

from __future__ import annotations

import os
import re
import shlex
from typing import Literal

from pydantic import model_validator

from artifacts.noun import Noun

PROGRAM = "neuronx-cc"
SOURCE_FILE, OUTPUT_FILE = "model.hlo.pb", "model.neff"
FLAGS_VARIABLE = "NEURON_CC_FLAGS"

_SET_HERE = (
    "--framework",
    "--target",
    "--model-type",
    "--auto-cast",
    "--auto-cast-type",
    "--optlevel",
    "--logical-nc-config",
    "--enable-fast-loading-neuron-binaries",
    "--output",
    "--logfile",
)
"""Flags that are no further arguments: fields set them, or they name a file."""

_FURTHER = re.compile(r"(--[a-z][a-z0-9-]*)(?:=([^\x00-\x1f\x7f/\\]*))?")


class NeuronOptions(Noun):
    """How neuronx-cc compiles.

    Nothing is cast unless `auto_cast` says so, exactness first: what was proven of the source graph would say nothing
    of an engine that computes in fewer bits. `auto_cast_type` is for a cast, and left to the compiler (bf16, as is
    documented) if not said. `logical_nc_config` is for trn2 alone. `fast_loading` leaves the NEFF uncompressed.

    `extra` are further flags, `--flag` or `--flag=value` each. Those that are set here, or name a file, are refused,
    and so are paths in values: options may come out of a bundle, which decides nothing of where files are written.
    """

    target: Literal["inf2", "trn1", "trn1n", "trn2"] = "inf2"
    model_type: Literal["generic", "transformer", "unet-inference"] = "generic"
    auto_cast: Literal["none", "matmult", "all"] = "none"
    auto_cast_type: Literal["bf16", "fp16", "tf32", "fp8_e4m3"] | None = None
    optlevel: Literal[1, 2, 3] = 2
    logical_nc_config: Literal[1, 2] | None = None
    fast_loading: bool = False
    extra: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> NeuronOptions:
        if self.auto_cast == "none" and self.auto_cast_type is not None:
            raise ValueError(f"a type to cast to, {self.auto_cast_type}, and nothing that is cast (auto_cast is none)")
        if self.logical_nc_config is not None and self.target != "trn2":
            raise ValueError(f"{self.target} has no logical cores to configure, trn2 has")
        flags = [_further_flag(argument) for argument in self.extra]
        if twice := sorted({flag for flag in flags if flags.count(flag) > 1}):
            raise ValueError(f"given more than once: {', '.join(twice)}")
        return self


def arguments(options: NeuronOptions, source: str = SOURCE_FILE, output: str = OUTPUT_FILE) -> list[str]:
    """The command that compiles the file `source`, an HloModuleProto, to the NEFF `output`, program first."""
    command = [PROGRAM, "compile", source, "--framework", "XLA", "--target", options.target]
    command += ["--model-type", options.model_type, "--auto-cast", options.auto_cast]
    if options.auto_cast_type is not None:
        command += ["--auto-cast-type", options.auto_cast_type]
    command += ["--optlevel", str(options.optlevel)]
    if options.logical_nc_config is not None:
        command += ["--logical-nc-config", str(options.logical_nc_config)]
    if options.fast_loading:
        command.append("--enable-fast-loading-neuron-binaries")
    return [*command, *options.extra, "--output", output]


def command_line(options: NeuronOptions, source: str = SOURCE_FILE, output: str = OUTPUT_FILE) -> str:
    """The same for a shell, with the flags that the environment has now."""
    flags = environment_flags()
    assigned = [f"{FLAGS_VARIABLE}={shlex.quote(flags)}"] if flags else []
    return " ".join([*assigned, shlex.join(arguments(options, source, output))])


def environment_flags() -> str:
    """The flags in NEURON_CC_FLAGS, "" if there are none: they may decide what a NEFF looks like, so a key has them."""
    return os.environ.get(FLAGS_VARIABLE, "")


def _further_flag(argument: str) -> str:
    """The flag of a further argument. Raises ValueError if it may not be one."""
    match = _FURTHER.fullmatch(argument)
    if match is None:
        raise ValueError(f"{argument!r} is no further argument: write --flag or --flag=value, without a path in it")
    flag = match[1]
    # A parser of arguments may take the beginning of a flag for the whole.
    if clash := next((known for known in _SET_HERE if known.startswith(flag)), None):
        raise ValueError(f"{argument!r} is no further argument: {clash} is not left to those")
    return flag
