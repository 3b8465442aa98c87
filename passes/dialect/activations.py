"""Activation functions of recurrent operators, by the names and with the parameters that ONNX gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import torch
import torch.nn.functional as F

Apply: TypeAlias = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class ActivationKind:
    """A function of a tensor and of its parameters: none, alpha, or alpha and beta; NaN is a missing default."""

    function: Callable[..., torch.Tensor]
    defaults: tuple[float, ...] = ()


@dataclass(frozen=True)
class Activations:
    """Functions in the order of the directions and, within one, of the gates.

    `alphas` and `betas` hold one number for each, which is 0 where the function takes none. `clip` bounds what
    every function is applied to.
    """

    names: Sequence[str]
    alphas: Sequence[float]
    betas: Sequence[float]
    clip: float | None

    def functions(self) -> tuple[Apply, ...]:
        """The functions, clipping included."""
        rows = zip(self.names, self.alphas, self.betas, strict=True)
        return tuple(_applied(ACTIVATIONS[name], (alpha, beta), self.clip) for name, alpha, beta in rows)


def _applied(kind: ActivationKind, parameters: tuple[float, float], clip: float | None) -> Apply:
    chosen = parameters[: len(kind.defaults)]
    if clip is None:
        return lambda x: kind.function(x, *chosen)
    return lambda x: kind.function(torch.clamp(x, -clip, clip), *chosen)


def _affine(x: torch.Tensor, alpha: float, beta: float) -> torch.Tensor:
    return x * alpha + beta


def _thresholded_relu(x: torch.Tensor, alpha: float) -> torch.Tensor:
    return torch.where(x > alpha, x, 0.0)


def _scaled_tanh(x: torch.Tensor, alpha: float, beta: float) -> torch.Tensor:
    return torch.tanh(x * beta) * alpha


def _hard_sigmoid(x: torch.Tensor, alpha: float, beta: float) -> torch.Tensor:
    return torch.clamp(x * alpha + beta, 0.0, 1.0)


ACTIVATIONS: Mapping[str, ActivationKind] = MappingProxyType(
    {
        "Sigmoid": ActivationKind(torch.sigmoid),
        "Tanh": ActivationKind(torch.tanh),
        "Relu": ActivationKind(torch.relu),
        "Softsign": ActivationKind(F.softsign),
        "Softplus": ActivationKind(F.softplus),
        "LeakyRelu": ActivationKind(F.leaky_relu, (0.01,)),
        "ThresholdedRelu": ActivationKind(_thresholded_relu, (1.0,)),
        "Elu": ActivationKind(F.elu, (1.0,)),
        "Affine": ActivationKind(_affine, (1.0, 0.0)),
        "ScaledTanh": ActivationKind(_scaled_tanh, (float("nan"), float("nan"))),
        "HardSigmoid": ActivationKind(_hard_sigmoid, (0.2, 0.5)),
    }
)
"""Every function that ONNX allows in a recurrent operator."""
