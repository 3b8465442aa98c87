"""Who decodes, and the module of this package in which each is opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy.typing as npt

from tests.bench.peers.models import PeerModel, Reads

Decode: TypeAlias = Callable[[npt.NDArray[Any], int], list[list[int]]]
"""Reads texts int64 [batch, SOURCE], none of them padded, and writes that many tokens for each."""

Opener: TypeAlias = Callable[[Path, PeerModel, str], Decode]
"""From a folder that `export` filled, in the form that a contestant names; with one thread."""


@dataclass(frozen=True)
class Contestant:
    """One way to decode: `module` has an `opened`, which is an `Opener`, and `packages` are what it measures.

    `is_exact`: it computes in float32, so that it has to write what the others write.
    """

    name: str
    title: str
    module: str
    form: str
    packages: tuple[str, ...]
    reads: Reads = "float32"
    is_ours: bool = False
    is_exact: bool = True


OURS = Contestant("unspool", "Unspool", "bundle", "fp32", ("onnxruntime",), "drafted", is_ours=True)
OURS_INT8 = Contestant(
    "unspool-int8", "Unspool int8", "bundle", "int8", ("onnxruntime",), "int8", is_ours=True, is_exact=False
)
NUMPY_LOOP = Contestant("three-files", "ONNX Runtime, numpy loop", "three_files", "numpy", ("onnxruntime",))
BOUND_LOOP = Contestant("three-files-bound", "ONNX Runtime, bound buffers", "three_files", "bound", ("onnxruntime",))
CTRANSLATE2 = Contestant("ctranslate2", "CTranslate2", "translate_batch", "float32", ("ctranslate2",))
CTRANSLATE2_INT8 = Contestant(
    "ctranslate2-int8", "CTranslate2 int8", "translate_batch", "int8", ("ctranslate2",), "int8", is_exact=False
)

CONTESTANTS = (
    OURS,
    OURS_INT8,
    NUMPY_LOOP,
    BOUND_LOOP,
    Contestant("openvino", "OpenVINO", "stateful_step", "f32", ("openvino",)),
    Contestant("openvino-bf16", "OpenVINO bf16", "stateful_step", "bf16", ("openvino",), "bfloat16", is_exact=False),
    CTRANSLATE2,
    CTRANSLATE2_INT8,
    Contestant("transformers", "transformers", "generate", "float32", ("transformers", "torch")),
)

FLOOR = Contestant("floor", "reading alone", "reading", "float32", ("numpy",), is_ours=True)
"""Writes nothing: what decoding is measured with."""


def contestant_named(name: str) -> Contestant:
    """The contestant of that name."""
    return next(contestant for contestant in (*CONTESTANTS, FLOOR) if contestant.name == name)
