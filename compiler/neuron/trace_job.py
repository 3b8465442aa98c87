"""What the SDK is to trace, as a script that does it: one file, which needs torch and the SDK and nothing of Unspool.

What Unspool runs where the SDK is, and what a bundle carries for users to run, is the same script.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from artifacts.neuron_options import NeuronOptions
from artifacts.spec import TensorSpec
from artifacts.weights import WeightRef
from compiler.neuron.inf1_settings import trace_keywords
from compiler.neuron.settings import trace_arguments
from compiler.neuron.tracing import TracerName, Tracing

Role = Literal["encoder", "step", "whole"]
"""What a part is of a model: the whole of one that is called once."""

_BODY = Path(__file__).with_name("trace_script.py")
_NO_JOB = 'JOB = json.loads("null")'


@dataclass(frozen=True)
class Place:
    """Where the bundle has a weight: from byte `offset` of the file `path` on."""

    path: str
    offset: int
    ref: WeightRef


@dataclass(frozen=True, eq=False)
class TracePart:
    """One function to trace: a TorchScript file, of the bundle's path, that was traced for the CPU.

    `inputs` have sizes alone as shapes. `weights` are those that are not in the file, by the name of the buffer.
    `aliases` are inputs that stay on the device, by number, and the outputs that become them.
    """

    role: Role
    path: str
    data: bytes
    inputs: Sequence[TensorSpec]
    weights: Mapping[str, Place]
    aliases: Sequence[tuple[int, int]] = ()

    def document(self) -> dict[str, Any]:
        """What the script is told of it. Nothing in it is free text: paths are of a closed alphabet."""
        return {
            "role": self.role,
            "file": self.path,
            "inputs": [{"shape": list(spec.shape), "dtype": spec.dtype.value} for spec in self.inputs],
            "weights": {
                name: {
                    "file": place.path,
                    "offset": place.offset,
                    "bytes": place.ref.nbytes,
                    "dtype": place.ref.dtype.value,
                    "shape": list(place.ref.shape),
                }
                for name, place in self.weights.items()
            },
            "aliases": [list(pair) for pair in self.aliases],
        }


@dataclass(frozen=True, eq=False)
class TraceJob:
    """Parts to trace with one of the SDK's packages, and what its `trace` is told.

    `loop` is the TorchScript around them, None for a part alone.
    """

    tracer: TracerName
    keywords: Mapping[str, Any]
    parts: Sequence[TracePart]
    loop: str | None = None

    def script(self) -> str:
        """The script, the same for the same job."""
        document = {
            "tracer": self.tracer,
            "keywords": dict(self.keywords),
            "parts": [part.document() for part in self.parts],
            "loop": self.loop,
        }
        body = _BODY.read_text(encoding="utf-8")
        assert body.count(_NO_JOB) == 1
        # JSON in ASCII, as a literal of Python: whatever it says, it is data.
        return body.replace(_NO_JOB, f"JOB = json.loads({json.dumps(document, sort_keys=True)!a})")


def keywords_of(tracer: TracerName, tracing: Tracing, neuron: NeuronOptions) -> dict[str, Any]:
    """What the `trace` of a package is told, beside the part and its inputs.

    Of torch-neuronx weights are separate from the compiled graph, as those of an HLO are.
    """
    if tracer == "torch-neuron":
        return trace_keywords(tracing.inf1)
    return {"compiler_args": trace_arguments(neuron), "inline_weights_to_neff": False}
