"""How the functions of a model are called to answer one request.

`Single` calls one function once. `Decode` generates tokens; what a step carries (`state`) and who loops
(`control`) are independent choices, and a target declares the pairs that it can do.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from artifacts.noun import Noun

State = Literal["recompute", "padded", "cached"]
"""recompute: all tokens so far; padded: the same at one fixed length; cached: the last token and slots."""

Token = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Axis = Annotated[int, Field(ge=0)]


class Beams(Noun):
    """Beam search instead of the likeliest token: how many beams, and which of their sequences is best.

    A sequence's score is sum(log p) / length ** length_penalty. `early_stopping` says when to stop looking for a
    better one: as soon as `width` have ended (true), when none is likely (false), when there can be none ("never").
    """

    width: Annotated[int, Field(ge=2)]
    length_penalty: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    early_stopping: bool | Literal["never"] = False


class Generation(Noun):
    """Which tokens start, end and fill a sequence, how many may be generated, and how they are chosen.

    `start` is the decoder's start token, which is not always a model's bos. `max_new_tokens` counts generated
    tokens: the start token is not one of them, the end token is. Without `beams` the choice is greedy.
    """

    start: Token
    eos: Annotated[tuple[Token, ...], Field(min_length=1)]
    pad: Token
    max_new_tokens: Count
    forced_first: Token | None = None
    forced_last: Token | None = None
    suppressed: tuple[Token, ...] = ()
    beams: Beams | None = None

    def forced(self, position: int) -> int | None:
        """The token that is given at a position, whatever the scores are."""
        if position == self.max_new_tokens - 1 and self.forced_last is not None:
            return self.forced_last
        return self.forced_first if position == 0 else None

    def suppressed_of(self, vocabulary: int) -> list[int]:
        """The tokens that are never chosen, of those that have a score."""
        return [token for token in self.suppressed if token < vocabulary]

    def with_beams(self, beams: Beams | int) -> Generation:
        """The same with other beams; a number changes the width and nothing else, and 1 is greedy."""
        if isinstance(beams, int):
            fields = {} if self.beams is None else self.beams.model_dump()
            return self.model_copy(update={"beams": Beams(**{**fields, "width": beams}) if beams > 1 else None})
        return self.model_copy(update={"beams": beams})


class CacheSlot(Noun):
    """A tensor that a step hands to the next one.

    `axis` is the time axis that grows by one row a step (None: a state of fixed size, as of a recurrence);
    `init` says what the first step finds: nothing (`empty`), `zeros`, or an encoder output (`encoder:NAME`).
    """

    input: str
    output: str
    axis: Axis | None
    batch_axis: Axis
    init: Annotated[str, Field(pattern=r"^(empty|zeros|encoder:.+)$")]

    @model_validator(mode="after")
    def _only_a_growing_slot_starts_empty(self) -> CacheSlot:
        if self.axis == self.batch_axis:
            raise ValueError(f"slot {self.input!r} has its time axis where the batch is")
        if self.init == "empty" and self.axis is None:
            raise ValueError(f"slot {self.input!r} has no time axis, so it cannot start empty")
        return self


class Single(Noun):
    """One call of one function: its inputs in, its outputs out."""

    kind: Literal["single"] = "single"
    function: str

    @property
    def functions(self) -> tuple[str, ...]:
        """Name of the one function that the schedule calls."""
        return (self.function,)

    @property
    def main(self) -> str:
        """The one function."""
        return self.function


class Host(Noun):
    """The loop runs outside the engine and stops as soon as every row has ended."""

    kind: Literal["host"] = "host"


class Engine(Noun):
    """The loop and its stop condition run inside one engine."""

    kind: Literal["engine"] = "engine"


class Unrolled(Noun):
    """Every position is a call of its own inside one engine; there is no early stop."""

    kind: Literal["unrolled"] = "unrolled"


class Partitioned(Noun):
    """Unrolled steps cut at `boundaries` (positions, ascending); decoding may stop at each of them."""

    kind: Literal["partitioned"] = "partitioned"
    boundaries: Annotated[tuple[Count, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _boundaries_ascend(self) -> Partitioned:
        if any(b <= a for a, b in zip(self.boundaries, self.boundaries[1:], strict=False)):
            raise ValueError(f"boundaries must ascend, got {self.boundaries}")
        return self


Control = Annotated[Host | Engine | Unrolled | Partitioned, Field(discriminator="kind")]


class Draft(Noun):
    """Tokens that a cheaper step guesses, and a window that checks all of them in one call.

    `step` takes and gives what the schedule's step does, and may be less exact: it guesses `count` tokens, one after
    another. `window` does the same for count + 1 tokens that follow each other, int64 [batch, count + 1], and is
    exact: guesses are kept as far as they are what it chooses, and its choice after them is one token more.
    """

    step: str
    window: str
    count: Count


class Decode(Noun):
    """Greedy generation: an optional encoder once, then `step` until every row has ended.

    An encoder output feeds the step input of the same name. `first`, where set, replaces `step` at position
    0. `tokens` int64 [batch, t] and `logits` [batch, t, vocabulary] name the step's token input and its
    scores; `position`, where set, names an int64 scalar input that counts steps from 0. `choice`, where set, names
    the function by which a loop inside an engine chooses: it takes an output of the step, and which rows have ended,
    bool [batch, 1]; it gives the tokens, int64 [batch, 1], and whether it had to compute all scores, int64 [].
    `draft`, where set, makes a loop inside an engine give the same tokens in fewer steps to requests of one row.
    """

    kind: Literal["decode"] = "decode"
    encoder: str | None
    first: str | None = None
    step: str
    choice: str | None = None
    draft: Draft | None = None
    tokens: str
    logits: str
    position: str | None = None
    state: State
    control: Control
    slots: tuple[CacheSlot, ...] = ()
    generation: Generation

    @model_validator(mode="after")
    def _parts_agree(self) -> Decode:
        if (self.state == "cached") != bool(self.slots):
            raise ValueError(f"state {self.state!r} does not go with {len(self.slots)} cache slots")
        if self.choice is not None and (self.state != "cached" or isinstance(self.control, Host)):
            raise ValueError(f"no engine chooses tokens by {self.choice!r}")
        if self.draft is not None and not self._can_go_back:
            raise ValueError(f"no engine goes back to an earlier token after {self.draft.window!r}")
        names = [self.tokens, *(slot.input for slot in self.slots), *filter(None, [self.position])]
        if len(set(names)) != len(names):
            raise ValueError(f"one input has two roles among {names}")
        if isinstance(self.control, Partitioned) and self.control.boundaries[-1] != self.generation.max_new_tokens:
            raise ValueError(
                f"the last partition ends at {self.control.boundaries[-1]}, "
                f"not at max_new_tokens {self.generation.max_new_tokens}"
            )
        return self

    @property
    def _can_go_back(self) -> bool:
        """Whether an engine that loops can drop what it kept of its last tokens."""
        return (
            self.state == "cached"
            and isinstance(self.control, Engine)
            and self.first is None
            and all(slot.axis is not None and slot.init == "empty" for slot in self.slots)
        )

    def shortened(self, limit: int) -> Decode:
        """A schedule for the first `limit` tokens of the same decode, partitions beyond them left out.

        The token that is forced at the end of the whole decode is not one of them.
        """
        longest = min(limit, self.generation.max_new_tokens)
        if longest == self.generation.max_new_tokens:
            return self
        control = self.control
        if isinstance(control, Partitioned):
            control = Partitioned(boundaries=(*(b for b in control.boundaries if b < longest), longest))
        generation = self.generation.model_copy(update={"max_new_tokens": longest, "forced_last": None})
        return self.model_copy(update={"generation": generation, "control": control})

    @property
    def functions(self) -> tuple[str, ...]:
        """Names of the functions that the schedule calls, each once."""
        drafted = () if self.draft is None else (self.draft.step, self.draft.window)
        called = (self.encoder, self.first, self.step, *drafted, self.choice)
        return tuple(dict.fromkeys(name for name in called if name is not None))

    @property
    def decoders(self) -> tuple[str, ...]:
        """The functions that take what the encoder made: steps, and those of a draft."""
        return tuple(name for name in self.functions if name not in (self.encoder, self.choice))

    @property
    def choosers(self) -> tuple[str, ...]:
        """The functions whose scores choose tokens: a draft's window, and the steps."""
        return (*(() if self.draft is None else (self.draft.window,)), *self.steps)

    @property
    def steps(self) -> tuple[str, ...]:
        """The functions that make a token, in calling order; those of a draft make the same ones and are not here."""
        return tuple(name for name in (self.first, self.step) if name is not None)

    @property
    def main(self) -> str:
        """The function that is called for every token."""
        return self.step


Schedule = Annotated[Single | Decode, Field(discriminator="kind")]
