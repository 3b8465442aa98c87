"""GRU, LSTM, RNN: each becomes the `unspool::` operator of its name, which keeps time symbolic."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from passes import dialect
from passes.dialect.activations import ACTIVATIONS, Activations
from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.registry import op

_BY_LOWER_NAME = {name.lower(): name for name in ACTIVATIONS}


@op("GRU", 1, 3, 7, 14, 22)
def gru(
    call: Call,
    x: torch.Tensor,
    w: torch.Tensor,
    r: torch.Tensor,
    b: torch.Tensor | None = None,
    lengths: torch.Tensor | None = None,
    initial_h: torch.Tensor | None = None,
) -> tuple[torch.Tensor, ...]:
    direction = _direction(call)
    functions = _activations(call, ("Sigmoid", "Tanh"), direction)
    # Version 1 has no such attribute, and resets before the product.
    linear_before_reset = call.since > 1 and call.attr_int("linear_before_reset") != 0

    def run(x: torch.Tensor, initial_h: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
        return dialect.GRU(x, w, r, b, lengths, initial_h, direction, *_options(functions), linear_before_reset)

    return _with_layout(call, run, x, (initial_h,))


@op("RNN", 1, 7, 14, 22)
def rnn(
    call: Call,
    x: torch.Tensor,
    w: torch.Tensor,
    r: torch.Tensor,
    b: torch.Tensor | None = None,
    lengths: torch.Tensor | None = None,
    initial_h: torch.Tensor | None = None,
) -> tuple[torch.Tensor, ...]:
    direction = _direction(call)
    functions = _activations(call, ("Tanh",), direction)

    def run(x: torch.Tensor, initial_h: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
        return dialect.RNN(x, w, r, b, lengths, initial_h, direction, *_options(functions))

    return _with_layout(call, run, x, (initial_h,))


@op("LSTM", 1, 7, 14, 22)
def lstm(
    call: Call,
    x: torch.Tensor,
    w: torch.Tensor,
    r: torch.Tensor,
    b: torch.Tensor | None = None,
    lengths: torch.Tensor | None = None,
    *states: torch.Tensor | None,
) -> tuple[torch.Tensor, ...]:
    direction = _direction(call)
    functions = _activations(call, ("Sigmoid", "Tanh", "Tanh"), direction)
    input_forget = call.attr_int("input_forget") != 0
    initial_h, initial_c, p = (*states, None, None, None)[:3]

    def run(
        x: torch.Tensor, initial_h: torch.Tensor | None, initial_c: torch.Tensor | None
    ) -> tuple[torch.Tensor, ...]:
        options = (direction, *_options(functions), input_forget)
        return dialect.LSTM(x, w, r, b, lengths, initial_h, initial_c, p, *options)

    return _with_layout(call, run, x, (initial_h, initial_c))


def _with_layout(
    call: Call,
    run: Callable[..., tuple[torch.Tensor, ...]],
    x: torch.Tensor,
    initial: tuple[torch.Tensor | None, ...],
) -> tuple[torch.Tensor, ...]:
    """Run with time first and batch second. Layout 1 has batch first, and directions after time in the output."""
    if call.since < 14 or call.attr_int("layout") == 0:
        return run(x, *initial)
    output, *finals = run(x.transpose(0, 1), *(None if state is None else state.transpose(0, 1) for state in initial))
    return (output.permute(2, 0, 1, 3), *(state.transpose(0, 1) for state in finals))


def _direction(call: Call) -> str:
    # The schema of version 1 misspells its own default.
    direction = call.attr_text("direction", "forward")
    if direction not in ("forward", "reverse", "bidirectional"):
        call.unsupported(f"direction {direction!r}", "there are forward, reverse and bidirectional")
    return direction


def _activations(call: Call, defaults: tuple[str, ...], direction: str) -> Activations:
    """The functions of every direction, with a parameter of each kind for each, 0 where it has none.

    The attributes of parameters hold values for those functions only that have such a parameter, in order.
    """
    count = len(defaults) * (2 if direction == "bidirectional" else 1)
    given = call.attr_texts("activations", [""]) if call.has("activations") else list(defaults) * 2
    names = [_BY_LOWER_NAME.get(name.lower(), name) for name in given]
    unknown = sorted(set(names) - set(ACTIVATIONS))
    if unknown:
        call.unsupported(f"activation {', '.join(unknown)}", f"there are {', '.join(ACTIVATIONS)}")
    if len(names) < count or (call.has("activations") and len(names) != count):
        call.unsupported(f"{len(names)} activations, where {direction} takes {count}")
    names = names[:count]
    alphas = _parameters(call, "activation_alpha", names, 0)
    betas = _parameters(call, "activation_beta", names, 1)
    return Activations(names, alphas, betas, call.attr_float("clip") if call.has("clip") else None)


def _parameters(call: Call, attribute: str, names: Sequence[str], position: int) -> list[float]:
    given = iter(call.attr_floats(attribute) if call.has(attribute) else [])
    found = []
    for name in names:
        defaults = ACTIVATIONS[name].defaults
        found.append(next(given, defaults[position]) if position < len(defaults) else 0.0)
        if math.isnan(found[-1]):
            call.unsupported(f"{attribute} has no value for {name}, and ONNX gives none")
    return found


def _options(functions: Activations) -> tuple[Sequence[str], Sequence[float], Sequence[float], float | None]:
    return functions.names, functions.alphas, functions.betas, functions.clip
