"""The `unspool::` recurrences as ONNX's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from compiler.onnx_translations.opset import op
from passes import dialect
from passes.dialect.activations import ACTIVATIONS


def _gru(  # noqa: PLR0913, PLR0917  # the arguments of the schema
    x: Any,
    w: Any,
    r: Any,
    b: Any,
    lengths: Any,
    initial_h: Any,
    direction: str,
    activations: Sequence[str],
    alphas: Sequence[float],
    betas: Sequence[float],
    clip: float | None,
    linear_before_reset: bool,
) -> Any:
    return op.GRU(
        x,
        w,
        r,
        b,
        lengths,
        initial_h,
        linear_before_reset=int(linear_before_reset),
        **_options(r, direction, activations, alphas, betas, clip, ("Sigmoid", "Tanh")),
    )


def _lstm(  # noqa: PLR0913, PLR0917  # the arguments of the schema
    x: Any,
    w: Any,
    r: Any,
    b: Any,
    lengths: Any,
    initial_h: Any,
    initial_c: Any,
    p: Any,
    direction: str,
    activations: Sequence[str],
    alphas: Sequence[float],
    betas: Sequence[float],
    clip: float | None,
    input_forget: bool,
) -> Any:
    return op.LSTM(
        x,
        w,
        r,
        b,
        lengths,
        initial_h,
        initial_c,
        p,
        input_forget=int(input_forget),
        **_options(r, direction, activations, alphas, betas, clip, ("Sigmoid", "Tanh", "Tanh")),
    )


def _rnn(  # noqa: PLR0913, PLR0917  # the arguments of the schema
    x: Any,
    w: Any,
    r: Any,
    b: Any,
    lengths: Any,
    initial_h: Any,
    direction: str,
    activations: Sequence[str],
    alphas: Sequence[float],
    betas: Sequence[float],
    clip: float | None,
) -> Any:
    return op.RNN(x, w, r, b, lengths, initial_h, **_options(r, direction, activations, alphas, betas, clip, ()))


def _options(
    r: Any,
    direction: str,
    activations: Sequence[str],
    alphas: Sequence[float],
    betas: Sequence[float],
    clip: float | None,
    defaults: tuple[str, ...],
) -> dict[str, Any]:
    """Attributes; those that say what is so anyway are left out.

    RNN has no `defaults` here: its own name two functions where it takes one.
    """
    options: dict[str, Any] = {"hidden_size": int(r.shape[2]), "direction": direction}
    if tuple(activations) != defaults * r.shape[0]:
        options["activations"] = list(activations)
        # The lists hold numbers for those functions only that take them.
        for name, values, position in (("activation_alpha", alphas, 0), ("activation_beta", betas, 1)):
            pairs = zip(activations, values, strict=True)
            taken = [value for function, value in pairs if len(ACTIVATIONS[function].defaults) > position]
            if taken:
                options[name] = taken
    if clip is not None:
        options["clip"] = clip
    return options


TRANSLATIONS: Mapping[Callable[..., Any], Callable[..., Any]] = MappingProxyType(
    {dialect.GRU: _gru, dialect.LSTM: _lstm, dialect.RNN: _rnn}
)
