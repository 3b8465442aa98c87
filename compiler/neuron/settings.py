"""The command that tells neuronx-cc what it is to do.

All options that decide the result are written out: defaults have changed, as that of --auto-cast from matmult to none
with Neuron 2.27.
"""

from __future__ import annotations

import os
import shlex

from artifacts.neuron_options import NeuronOptions

PROGRAM = "neuronx-cc"
SOURCE_FILE, OUTPUT_FILE = "model.hlo.pb", "model.neff"
FLAGS_VARIABLE = "NEURON_CC_FLAGS"


def arguments(options: NeuronOptions, source: str = SOURCE_FILE, output: str = OUTPUT_FILE) -> list[str]:
    """The command that compiles the file `source`, an HloModuleProto, to the NEFF `output`, program first."""
    return [PROGRAM, "compile", source, "--framework", "XLA", *trace_arguments(options), "--output", output]


def trace_arguments(options: NeuronOptions) -> list[str]:
    """Of that command what decides the result: what `torch_neuronx.trace` hands on to the compiler."""
    found = ["--target", options.target, "--model-type", options.model_type, "--auto-cast", options.auto_cast]
    if options.auto_cast_type is not None:
        found += ["--auto-cast-type", options.auto_cast_type]
    found += ["--optlevel", str(options.optlevel)]
    if options.logical_nc_config is not None:
        found += ["--logical-nc-config", str(options.logical_nc_config)]
    if options.fast_loading:
        found.append("--enable-fast-loading-neuron-binaries")
    return [*found, *options.extra]


def command_line(options: NeuronOptions, source: str = SOURCE_FILE, output: str = OUTPUT_FILE) -> str:
    """The same for a shell, with the flags that the environment has now."""
    flags = environment_flags()
    assigned = [f"{FLAGS_VARIABLE}={shlex.quote(flags)}"] if flags else []
    return " ".join([*assigned, shlex.join(arguments(options, source, output))])


def environment_flags() -> str:
    """The flags in NEURON_CC_FLAGS, "" if there are none: they may decide what a NEFF looks like, so a key has them."""
    return os.environ.get(FLAGS_VARIABLE, "")
