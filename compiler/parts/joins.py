"""Which input of a decoder is which value of its encoder: told by names, else by element types and shapes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from artifacts.errors import Problem, SourceError
from artifacts.spec import Dim, Signature, TensorSpec

STAGE = "join"

TOKENS = "decoder_input_ids"
"""What the decoder's tokens are called in the whole model: an encoder's tokens are called `input_ids` too."""

_TOKEN_NAMES = (TOKENS, "input_ids", "tokens", "token", "input_tokens")
_LOGIT_NAMES = ("logits", "lm_logits", "scores")
_STATE_NAMES = ("last_hidden_state", "encoder_hidden_states", "encoder_outputs", "hidden_states", "encoder_output")
"""What exporters call the encoder's result, on either side."""

PAST = re.compile(r"^(past|present)")
"""The inputs and outputs that carry a cache."""


CACHE_BRANCH = "use_cache_branch"
"""The input by which a merged decoder chooses between a first step and one with a cache."""


@dataclass(frozen=True)
class Joins:
    """How a decoder is joined to its encoder; keys and values are names of ports.

    `shared` binds decoder inputs to encoder inputs, `fed` binds them to encoder outputs, `own` are decoder inputs
    that only the caller knows, by the names that they get. `symbols` gives the sizes of the decoder's ports in the
    encoder's words.
    """

    tokens: str
    logits: str
    shared: Mapping[str, str]
    fed: Mapping[str, str]
    own: Mapping[str, str]
    symbols: Mapping[str, str]


def plan_joins(encoder: Signature, decoder: Signature, where: str) -> Joins:
    """Bind every decoder input. `decoder` has no cache among its inputs any more; `where` names its file.

    Raises SourceError with every input that cannot be bound.
    """
    tokens, logits = _tokens(decoder, where), _logits(decoder, where)
    shared: dict[str, str] = {}
    fed: dict[str, str] = {}
    own = {tokens.name: TOKENS}
    problems = []
    for spec in decoder.inputs:
        if spec.name == tokens.name:
            continue
        output = _fitting(spec, _outputs_by_name(spec, encoder))
        given = _fitting(spec, _inputs_by_name(spec, encoder, tokens))
        if output is not None:
            fed[spec.name] = output.name
        elif given is not None:
            shared[spec.name] = given.name
        elif (alike := _alone(spec, encoder.outputs)) is not None:
            fed[spec.name] = alike.name
        elif _is_mask(spec) and not any(map(_is_mask, encoder.inputs)) and not _is_over_tokens(spec, tokens):
            own[spec.name] = spec.name  # the encoder needs no mask, the decoder does: the caller gives it
        else:
            problems.append(_unbound(spec, encoder, where))
    if not fed and not problems:
        outputs = ", ".join(map(str, encoder.outputs))
        problems.append(Problem(STAGE, where, f"takes nothing that the encoder gives ({outputs})", "are these parts?"))
    SourceError.raise_if(problems)
    return Joins(tokens.name, logits.name, shared, fed, own, _symbols(encoder, decoder, tokens, {**shared, **fed}))


def _tokens(decoder: Signature, where: str) -> TensorSpec:
    """The decoder's tokens, integers [batch, t]: by name, else the one input whose sizes the scores repeat."""
    fitting = [spec for spec in decoder.inputs if spec.dtype.is_integer and spec.rank == 2]
    named = [spec for name in _TOKEN_NAMES for spec in fitting if spec.name == name]
    repeated = [
        spec for spec in fitting if any(out.rank == 3 and out.shape[:2] == spec.shape for out in decoder.outputs)
    ]
    found = named[:1] or repeated
    if len(found) == 1 and not isinstance(found[0].shape[1], int):
        return found[0]
    if len(found) == 1:
        message = f"takes {found[0].shape[1]} token at a time ({found[0]}): it has no scores of its own for all tokens"
        raise SourceError.of(STAGE, where, message, "export the decoder without a cache, for tokens [batch, t]")
    message = f"which input holds its tokens is not clear: {', '.join(map(str, decoder.inputs))}"
    raise SourceError.of(STAGE, where, message, f"call it {' or '.join(_TOKEN_NAMES[:2])}")


def _logits(decoder: Signature, where: str) -> TensorSpec:
    """The decoder's scores, floats [batch, t, vocabulary]: by name, else the one output of that rank."""
    fitting = [spec for spec in decoder.outputs if spec.dtype.is_float and spec.rank == 3]
    found = [spec for name in _LOGIT_NAMES for spec in fitting if spec.name == name][:1]
    found = found or [spec for spec in fitting if not PAST.match(spec.name)]
    if len(found) == 1:
        return found[0]
    message = f"which output holds its scores is not clear: {', '.join(map(str, decoder.outputs))}"
    raise SourceError.of(STAGE, where, message, f"call it {_LOGIT_NAMES[0]}")


def _outputs_by_name(spec: TensorSpec, encoder: Signature) -> Iterator[TensorSpec]:
    """Encoder outputs of the same name, and the encoder's result where that is what the input is called."""
    yield from (found for found in encoder.outputs if found.name in (spec.name, f"encoder_{spec.name}"))
    if spec.name in _STATE_NAMES:
        yield from (found for name in _STATE_NAMES for found in encoder.outputs if found.name == name)


def _inputs_by_name(spec: TensorSpec, encoder: Signature, tokens: TensorSpec) -> Iterator[TensorSpec]:
    """Encoder inputs of the same name, without `encoder_`; then the one mask, if it is a mask over what was read."""
    if _is_over_tokens(spec, tokens):  # a mask over the decoder's own tokens goes by the same name
        return
    plain = spec.name.removeprefix("encoder_")
    yield from (found for found in encoder.inputs if found.name in (spec.name, plain))
    masks = [found for found in encoder.inputs if _is_mask(found)]
    if _is_mask(spec) and len(masks) == 1:
        yield from masks


def _alone(spec: TensorSpec, outputs: tuple[TensorSpec, ...]) -> TensorSpec | None:
    """The one encoder output that a float input can be, by type and shape."""
    fitting = [found for found in outputs if _fits(spec, found)]
    return fitting[0] if spec.dtype.is_float and len(fitting) == 1 and not PAST.match(spec.name) else None


def _fitting(spec: TensorSpec, candidates: Iterator[TensorSpec]) -> TensorSpec | None:
    return next((found for found in candidates if _fits(spec, found)), None)


def _fits(spec: TensorSpec, given: TensorSpec) -> bool:
    """Whether a value can be given where an input is declared; an output may be declared without a rank."""
    sizes = zip(spec.shape, given.shape, strict=False)
    same = all(a == b or isinstance(a, str) or isinstance(b, str) for a, b in sizes)
    return spec.dtype == given.dtype and given.rank in (0, spec.rank) and same


def _is_mask(spec: TensorSpec) -> bool:
    return "mask" in spec.name and spec.rank == 2


def _is_over_tokens(spec: TensorSpec, tokens: TensorSpec) -> bool:
    """Whether an input speaks of the decoder's own tokens. Sizes say so, but some exporters call all of them alike."""
    time = tokens.shape[1]
    return isinstance(time, str) and time in spec.shape[1:] and not spec.name.startswith("encoder_")


def _unbound(spec: TensorSpec, encoder: Signature, where: str) -> Problem:
    there = ", ".join(map(str, (*encoder.outputs, *encoder.inputs)))
    if PAST.match(spec.name):
        hint = "export the decoder without a cache as well: the cache is derived from that"
        return Problem(STAGE, f"{where}: input {spec}", "is a cache", hint)
    return Problem(STAGE, f"{where}: input {spec}", "goes with nothing of the encoder", f"the encoder has {there}")


def _symbols(encoder: Signature, decoder: Signature, tokens: TensorSpec, bound: Mapping[str, str]) -> dict[str, str]:
    """The decoder's symbols as the encoder has them. Equal names mean nothing: both call their length `sequence`."""
    known = set(encoder.symbols)
    ports = {spec.name: spec for spec in (*encoder.outputs, *encoder.inputs)}
    time = tokens.shape[1]
    found = {time: _new(time, known)} if isinstance(time, str) else {}

    def same(mine: Dim, theirs: Dim) -> None:
        if isinstance(mine, str) and isinstance(theirs, str) and theirs in known:
            found.setdefault(mine, theirs)

    for name, port in bound.items():
        for mine, theirs in zip(decoder.input(name).shape, ports[port].shape, strict=False):
            same(mine, theirs)
    batches = {spec.shape[0] for spec in encoder.inputs if spec.rank > 0}
    if len(batches) == 1:
        same(tokens.shape[0], batches.pop())
    for symbol in decoder.symbols:
        found.setdefault(symbol, _new(symbol, known))
    return found


def _new(symbol: str, known: set[str]) -> str:
    return f"decoder_{symbol}" if symbol in known else symbol
