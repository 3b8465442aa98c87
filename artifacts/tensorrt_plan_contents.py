"""What the bytes of a TensorRT-RTX plan are: source texts of kernels, the program that calls them, weights, the rest.

A plan is a header (`tensorrt_plan.py`) and a tree of records whose layout is not documented. Two things in it are known
by what they are, wherever they lie. A kernel that the builder writes for the operations of a network is a text of CUDA
C++, which the runtime compiles on the GPU; a program says in a text of its own which kernel runs on what. A weight is
there as the bytes that it was given as (`tensorrt_plan_weights.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from artifacts.noun import Noun
from artifacts.tensorrt_plan_weights import Data, HeldWeights, Run, find_weights, gaps
from artifacts.weights import Array, Size

TEXT_BYTES = 2000
"""Shorter runs of printable bytes are names, or chance. The shortest kernel seen has 130,252."""

_KERNEL = b"__global__"
_PRINTABLE = np.zeros(256, np.bool_)
_PRINTABLE[[*b"\t\n\r", *range(0x20, 0x7F)]] = True
_CHUNK = 1 << 22


class KernelTexts(Noun):
    """The kernels that a plan holds as source texts; each distinct text counts once in `distinct_bytes`."""

    texts: Size = 0
    bytes: Size = 0
    distinct: Size = 0
    distinct_bytes: Size = 0


class PlanContents(Noun):
    """What the bytes of a plan are. `program_bytes` are of texts that are no kernels; `rest_bytes` of nothing known."""

    bytes: Size
    kernels: KernelTexts = KernelTexts()
    program_bytes: Size = 0
    weights: HeldWeights = HeldWeights()
    rest_bytes: Size = 0


def plan_contents(plan: Data, weights: Mapping[str, Array]) -> PlanContents:
    """What is in a plan that was built from these weights, each C-contiguous in the type that it was handed over in.

    Any bytes will do for a plan. Takes time that grows as the plan and the weights do.
    """
    held, pieces = find_weights(plan, weights)
    texts = [text for gap in gaps(pieces, len(plan)) for text in _texts(plan, gap)]
    kernels = [plan[start:stop] for start, stop in texts if plan.find(_KERNEL, start, stop) >= 0]
    distinct = set(kernels)
    found = KernelTexts(
        texts=len(kernels),
        bytes=sum(map(len, kernels)),
        distinct=len(distinct),
        distinct_bytes=sum(map(len, distinct)),
    )
    text_bytes = sum(stop - start for start, stop in texts)
    return PlanContents(
        bytes=len(plan),
        kernels=found,
        program_bytes=text_bytes - found.bytes,
        weights=held,
        rest_bytes=len(plan) - text_bytes - int((pieces[:, 1] - pieces[:, 0]).sum()),
    )


def _texts(data: Data, run: Run) -> Iterator[Run]:
    """Where at least TEXT_BYTES printable bytes on end begin and end, within a run of bytes."""
    flat, last = np.frombuffer(data, np.uint8), run[0] - 1
    for start in range(*run, _CHUNK):
        breaks = np.flatnonzero(~_PRINTABLE[flat[start : min(start + _CHUNK, run[1])]]) + start
        edges = np.concatenate([[last], breaks])
        for index in np.flatnonzero(np.diff(edges) > TEXT_BYTES):
            yield int(edges[index]) + 1, int(edges[index + 1])
        last = int(edges[-1])
    if run[1] - last > TEXT_BYTES:
        yield last + 1, run[1]
