"""Whether a model reads its tokens from left to right only: asked of the source itself."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from artifacts.errors import RunError
from artifacts.spec import Signature
from compiler.decoders import DecoderPorts
from compiler.samples import draw_samples
from compiler.shapes import ShapeRanges
from compiler.source_runner import SourceRunner
from passes.onnx_to_torch.input_hints import InputHint


def is_causal(
    runner: SourceRunner, signature: Signature, hints: Mapping[str, InputHint], ports: DecoderPorts
) -> bool | None:
    """True if scores stay as they are when tokens are appended, False if they move, None if the source cannot tell."""
    length = signature.input(ports.tokens).shape[1]
    try:
        whole = dict(draw_samples(signature, hints, runner, ShapeRanges())[0].inputs)
        for spec in signature.inputs:
            if spec.dtype.is_integer and hints.get(spec.name, InputHint()).table is None:
                whole[spec.name] = np.ones_like(whole[spec.name])  # a mask that hides nothing
        kept = whole[ports.tokens].shape[1] // 2
        cut = {
            spec.name: whole[spec.name][tuple(slice(kept) if dim == length else slice(None) for dim in spec.shape)]
            for spec in signature.inputs
        }
        expected = runner.run(whole)[ports.logits][:, :kept]
        found = runner.run({name: np.ascontiguousarray(array) for name, array in cut.items()})[ports.logits]
    except RunError:
        return None
    return bool(np.allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max()))
