"""Find the decoder in a model: its input of tokens, its scores, and what it decodes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from artifacts.errors import Problem, UsageError
from artifacts.schedule import Generation
from artifacts.spec import Signature, TensorSpec
from compiler.options import CompileOptions
from passes.onnx_to_torch.input_hints import InputHint


@dataclass(frozen=True)
class DecoderPorts:
    """The decoder's input of tokens, [batch, t], and its output that scores them, [batch, t, vocabulary].

    `sources` are the other inputs that do not grow with the tokens: what is decoded. `masks` say which tokens are
    none, and `growing` are others that grow with the tokens.
    """

    tokens: str
    logits: str
    sources: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    growing: tuple[str, ...] = ()


def find_decoder(
    signature: Signature,
    hints: Mapping[str, InputHint],
    options: CompileOptions,
    generation: Generation | None,
) -> DecoderPorts | None:
    """The ports of a decoder, told by shapes: an integer input and a float output share batch and time.

    Of several inputs the one that indexes the largest table is the tokens: masks index none, and types of tokens a
    small one. Of several outputs the scores are one that has room for the special tokens, rather one as wide as
    that table, rather a later one. `--decoder-input` and `--logits` go before all that, and where both are given, the
    scores' batch and time may go by names of their own, as some exports have it. Raises UsageError if they name what
    there is not.
    """
    UsageError.raise_if(_unknown_names(signature, options))
    known = () if generation is None else special_tokens(generation).values()

    def rank(tokens: TensorSpec, logits: TensorSpec, place: int) -> tuple[int, bool, bool, int]:
        table = hints.get(tokens.name, InputHint()).table or 0
        width = logits.shape[2]
        assert isinstance(width, int)
        return table, all(token < width for token in known), width == table, place

    found = [
        (rank(tokens, logits, place), tokens, logits)
        for place, logits in enumerate(signature.outputs)
        for tokens in signature.inputs
        if _scores(tokens, logits, named=options.decoder_input is not None and options.logits is not None)
        and tokens.name == (options.decoder_input or tokens.name)
        and logits.name == (options.logits or logits.name)
    ]
    if not found:
        return None
    _, tokens, logits = max(found, key=lambda item: item[0])
    others = [spec for spec in signature.inputs if spec.name != tokens.name]
    masks = token_masks(signature, hints, tokens.name)
    growing = tuple(spec.name for spec in others if tokens.shape[1] in spec.shape and spec.name not in masks)
    sources = tuple(spec.name for spec in others if spec.name not in (*growing, *masks))
    return DecoderPorts(tokens.name, logits.name, sources, masks, growing)


def token_masks(signature: Signature, hints: Mapping[str, InputHint], tokens: str) -> tuple[str, ...]:
    """The inputs that have a number for each token and index no table with it, as positions and types of tokens do."""
    shape = signature.input(tokens).shape
    return tuple(
        spec.name
        for spec in signature.inputs
        if spec.name != tokens and spec.shape == shape and hints.get(spec.name, InputHint()).table is None
    )


def check_special_tokens(
    generation: Generation, ports: DecoderPorts, signature: Signature, hints: Mapping[str, InputHint]
) -> None:
    """Raise UsageError with every special token that the scores or the table of the tokens have no room for."""
    sizes = {f"output {ports.logits!r}": signature.output(ports.logits).shape[2]}
    sizes[f"the table that {ports.tokens!r} indexes"] = hints.get(ports.tokens, InputHint()).table or "unknown"
    UsageError.raise_if(
        Problem("options", f"{role} token {token}", f"is beyond {where}, which has {size}", _TOKEN_HINT)
        for role, token in special_tokens(generation).items()
        for where, size in sizes.items()
        if isinstance(size, int) and token >= size
    )


_TOKEN_HINT = "give --bos, --eos and --pad, repair the generation_config.json, or use --schedule single"


def special_tokens(generation: Generation) -> dict[str, int]:
    """Every token that the settings name, by what it is for."""
    rules = generation
    found = {"start": rules.start, "pad": rules.pad, "forced first": rules.forced_first}
    found["forced last"] = rules.forced_last
    found |= {f"end ({number})" if number else "end": token for number, token in enumerate(rules.eos)}
    found |= {f"suppressed ({number})": token for number, token in enumerate(rules.suppressed)}
    return {role: token for role, token in found.items() if token is not None}


def _unknown_names(signature: Signature, options: CompileOptions) -> Iterator[Problem]:
    for flag, name, specs in (
        ("--decoder-input", options.decoder_input, signature.inputs),
        ("--logits", options.logits, signature.outputs),
    ):
        names = [spec.name for spec in specs]
        if name is not None and name not in names:
            yield Problem("options", f"{flag} {name}", "is not a name of the model", f"there are: {', '.join(names)}")


def _scores(tokens: TensorSpec, logits: TensorSpec, named: bool) -> bool:
    alike = logits.shape[:2] == tokens.shape
    return (
        tokens.dtype.is_integer
        and tokens.rank == 2
        and logits.dtype.is_float
        and logits.rank == 3
        and isinstance(tokens.shape[1], str)
        and (alike or (named and all(isinstance(size, str) for size in logits.shape[:2])))
        and isinstance(logits.shape[2], int)
    )
