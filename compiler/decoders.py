"""Find the decoder in a model's signature, and choose the schedule that a model gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from artifacts.errors import UsageError
from artifacts.schedule import Control, Decode, Engine, Generation, Host, Schedule, Single, Unrolled
from artifacts.spec import Signature, TensorSpec
from compiler.options import CacheMode, CompileOptions, ScheduleName
from compiler.targets import Target
from compiler.targets.target import Pair
from passes.onnx_to_torch.input_hints import InputHint


@dataclass(frozen=True)
class DecoderPorts:
    """The decoder's input of tokens, [batch, t], and its output that scores them, [batch, t, vocabulary]."""

    tokens: str
    logits: str


def find_decoder(signature: Signature, hints: Mapping[str, InputHint]) -> DecoderPorts | None:
    """The ports of a decoder, told by shapes alone: an integer input and a float output share batch and time.

    An input that indexes a table goes before one that does not: a padding mask has the same shape as the tokens.
    """
    found = [
        (hints.get(tokens.name, InputHint()).table is None, DecoderPorts(tokens.name, logits.name))
        for logits in signature.outputs
        for tokens in signature.inputs
        if _scores(tokens, logits)
    ]
    return min(found, key=lambda item: item[0])[1] if found else None


def _scores(tokens: TensorSpec, logits: TensorSpec) -> bool:
    return (
        tokens.dtype.is_integer
        and tokens.rank == 2
        and logits.dtype.is_float
        and logits.rank == 3
        and isinstance(tokens.shape[1], str)
        and logits.shape[:2] == tokens.shape
        and isinstance(logits.shape[2], int)
    )


def choose_schedule(
    function: str,
    signature: Signature,
    hints: Mapping[str, InputHint],
    generation: Generation | None,
    options: CompileOptions,
    target: Target,
) -> Schedule:
    """The schedule that the options ask for; `auto` decodes when the model is a decoder with known tokens.

    Raises UsageError if what is asked for does not go with the model or the target.
    """
    wanted = options.schedule
    if wanted == ScheduleName.SINGLE:
        return Single(function=function)
    ports = find_decoder(signature, hints)
    if wanted == ScheduleName.AUTO and (ports is None or generation is None):
        return Single(function=function)
    if ports is None:
        raise UsageError.of(
            "options",
            f"--schedule {wanted}",
            "the model is no decoder: no integer input [batch, t] goes with a float output [batch, t, vocabulary]",
            "use --schedule single",
        )
    if generation is None:
        hint = "give --bos and --eos, or put a generation_config.json beside the model"
        raise UsageError.of("options", f"--schedule {wanted}", "the start and end tokens are not known", hint)
    state, control = _pair(options, target)
    return Decode(
        encoder=None,
        step=function,
        tokens=ports.tokens,
        logits=ports.logits,
        state=state,
        control=_CONTROLS[control],
        generation=generation,
    )


_CONTROLS: Mapping[ScheduleName, Control] = {
    ScheduleName.LOOP: Host(),
    ScheduleName.ENGINE_LOOP: Engine(),
    ScheduleName.UNROLLED: Unrolled(),
}


def _pair(options: CompileOptions, target: Target) -> Pair:
    """The first pair of the target's that the options allow. Raises UsageError if there is none."""
    for state, control in target.decodes:
        wanted = options.schedule in (ScheduleName.AUTO, control)
        cached = options.cache == CacheMode.AUTO or (options.cache == CacheMode.ON) == (state == "cached")
        if wanted and cached:
            return state, control
    can = ", ".join(f"{control} ({state})" for state, control in target.decodes)
    asked = f"--schedule {options.schedule} --cache {options.cache}"
    raise UsageError.of("options", asked, f"target {target.name} cannot do it", f"it can do: {can}")
