"""Adagrad, Adam and Momentum: one step of an optimizer, plain arithmetic on each tensor."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.registry import op

_DOMAIN = "ai.onnx.preview.training"


@op("Adagrad", 1, domain=_DOMAIN)
def adagrad(call: Call, rate: torch.Tensor, step: torch.Tensor, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Parameters, gradients and accumulated squares of gradients (Duchi et al. 2011)."""
    rate = rate / (1 + step * call.attr_float("decay_factor"))
    results = []
    for x, gradient, squares in _groups(tensors, 3):
        g = call.attr_float("norm_coefficient") * x + gradient
        total = squares + g * g
        results.append((x - rate * g / (torch.sqrt(total) + call.attr_float("epsilon")), total))
    return _by_kind(results)


@op("Adam", 1, domain=_DOMAIN)
def adam(call: Call, rate: torch.Tensor, step: torch.Tensor, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Parameters, gradients, their averages and the averages of their squares (Kingma and Ba 2015)."""
    alpha, beta = call.attr_float("alpha"), call.attr_float("beta")
    # Averages start at 0, which is corrected from the first step on.
    corrected = rate * torch.sqrt(1 - beta ** step.to(rate.dtype)) / (1 - alpha ** step.to(rate.dtype))
    rate = torch.where(step > 0, corrected, rate)
    results = []
    for x, gradient, average, squares in _groups(tensors, 4):
        g = call.attr_float("norm_coefficient") * x + gradient
        v = alpha * average + (1 - alpha) * g
        h = beta * squares + (1 - beta) * g * g
        moved = x - rate * (v / (torch.sqrt(h) + call.attr_float("epsilon")))
        results.append(((1 - call.attr_float("norm_coefficient_post")) * moved, v, h))
    return _by_kind(results)


@op("Momentum", 1, domain=_DOMAIN)
def momentum(call: Call, rate: torch.Tensor, step: torch.Tensor, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Parameters, gradients and momenta; mode "nesterov" looks one step ahead (Sutskever et al. 2013)."""
    alpha = call.attr_float("alpha")
    # The first gradient counts in full.
    share = torch.where(step > 0, call.attr_float("beta"), 1.0).to(rate.dtype)
    results = []
    for x, gradient, velocity in _groups(tensors, 3):
        g = call.attr_float("norm_coefficient") * x + gradient
        v = alpha * velocity + share * g
        results.append((x - rate * (g + alpha * v if call.attr_text("mode") == "nesterov" else v), v))
    return _by_kind(results)


def _groups(tensors: Sequence[torch.Tensor], kinds: int) -> list[tuple[torch.Tensor, ...]]:
    """What belongs to each parameter, from all parameters, then all gradients, and so on."""
    count = len(tensors) // kinds
    return list(zip(*(tensors[start : start + count] for start in range(0, len(tensors), count)), strict=True))


def _by_kind(results: Sequence[tuple[torch.Tensor, ...]]) -> tuple[torch.Tensor, ...]:
    return tuple(chain.from_iterable(zip(*results, strict=True)))
