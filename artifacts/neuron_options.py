"""What AWS Neuron's compiler is told of an engine: `neuronx-cc`, for Inf2, Trn1 and Trn2.

The options are those of AWS's documentation of Neuron 2.32 ("Neuron Compiler CLI Reference Guide"). A bundle carries
them, so that its sources are compiled elsewhere as they were meant to be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import model_validator

from artifacts.noun import Noun

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
        if found := [message for _, message in contradictions(dict(self))]:
            raise ValueError("; ".join(found))
        return self


def contradictions(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What cannot be meant by the values of all fields together: the field that is at fault, and why."""
    if values["auto_cast"] == "none" and (cast_type := values["auto_cast_type"]) is not None:
        yield "auto_cast_type", f"a type to cast to, {cast_type}, and nothing that is cast (auto_cast is none)"
    if values["logical_nc_config"] is not None and values["target"] != "trn2":
        yield "logical_nc_config", f"{values['target']} has no logical cores to configure, trn2 has"
    flags = []
    for argument in values["extra"]:
        match = _FURTHER.fullmatch(argument)
        if match is None:
            shown = f"{argument!r} is no further argument"
            yield "extra", f"{shown}: write --flag or --flag=value, without a path in it"
            continue
        flags.append(match[1])
        # A parser of arguments may take the beginning of a flag for the whole.
        if clash := next((known for known in _SET_HERE if known.startswith(match[1])), None):
            yield "extra", f"{argument!r} is no further argument: {clash} is not left to those"
    if twice := sorted({flag for flag in flags if flags.count(flag) > 1}):
        yield "extra", f"given more than once: {', '.join(twice)}"
