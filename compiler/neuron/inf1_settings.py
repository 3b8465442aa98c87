"""What torch-neuron is told, as its traces for Inf1 are made.

The options are those of AWS's documentation of `torch.neuron.trace`, and that of its compiler, neuron-cc.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from artifacts.noun import Noun

Count = Annotated[int, Field(ge=1)]


class Inf1Options(Noun):
    """How torch-neuron traces; the values here are its own defaults.

    `pipeline_cores` is over how many cores the compiler spreads a graph. With `dynamic_batch` a traced model takes any
    size of its inputs' first dimension. `fallback` leaves to the host what the compiler does not take; without it that
    is an error. A piece of a graph with fewer than `minimum_segment` operators stays on the host; where one has more
    than the share `fusion_ratio` of them, it is the only one that is compiled. `separate_weights` keeps weights apart
    from the compiled graph, which is for models of more than 1.9 GB.
    """

    pipeline_cores: Count | None = None
    dynamic_batch: bool = False
    fallback: bool = True
    minimum_segment: Count = 2
    fusion_ratio: Annotated[float, Field(ge=0, le=1)] = 0.6
    separate_weights: bool = False


def trace_keywords(options: Inf1Options) -> dict[str, object]:
    """The keyword arguments of `torch.neuron.trace`, all that decide the result written out."""
    cores = options.pipeline_cores
    return {
        "compiler_args": [] if cores is None else ["--neuroncore-pipeline-cores", str(cores)],
        "minimum_segment_size": options.minimum_segment,
        "single_fusion_ratio_threshold": options.fusion_ratio,
        "fallback": options.fallback,
        "dynamic_batch_size": options.dynamic_batch,
        "separate_weights": options.separate_weights,
    }
