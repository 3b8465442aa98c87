"""Activation functions of recurrent operators, by the names and with the parameters that ONNX gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import torch
import torch.nn.functional as F

Apply = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class ActivationKind:
    """One function and the defaults of the parameters it takes.

    A parameter that the function does not have is None; one that ONNX gives no default is NaN.
    """

    apply: Callable[[torch.Tensor, float, float], torch.Tensor]
    alpha: float | None = None
    beta: float | None = None


NO_DEFAULT = float("nan")

ACTIVATIONS: Mapping[str, ActivationKind] = MappingProxyType(
    {
        "Sigmoid": ActivationKind(lambda x, alpha, beta: torch.sigmoid(x)),
        "Tanh": ActivationKind(lambda x, alpha, beta: torch.tanh(x)),
        "Relu": ActivationKind(lambda x, alpha, beta: torch.relu(x)),
        "Softsign": ActivationKind(lambda x, alpha, beta: F.softsign(x)),
        "Softplus": ActivationKind(lambda x, alpha, beta: F.softplus(x)),
        "Affine": ActivationKind(lambda x, alpha, beta: x * alpha + beta, 1.0, 0.0),
        "LeakyRelu": ActivationKind(lambda x, alpha, beta: F.leaky_relu(x, alpha), 0.01),
        "ThresholdedRelu": ActivationKind(lambda x, alpha, beta: torch.where(x > alpha, x, 0.0), 1.0),
        "Elu": ActivationKind(lambda x, alpha, beta: F.elu(x, alpha), 1.0),
        "ScaledTanh": ActivationKind(lambda x, alpha, beta: torch.tanh(x * beta) * alpha, NO_DEFAULT, NO_DEFAULT),
        "HardSigmoid": ActivationKind(lambda x, alpha, beta: torch.clamp(x * alpha + beta, 0.0, 1.0), 0.2, 0.5),
    }
)
"""Every function that ONNX allows in a recurrent operator."""


def activation(name: str, alpha: float, beta: float, clip: float | None) -> Apply:
    """A function of one tensor, its input clamped to -clip..clip first."""
    apply = partial(ACTIVATIONS[name].apply, alpha=alpha, beta=beta)
    return apply if clip is None else lambda x: apply(torch.clamp(x, -clip, clip))
