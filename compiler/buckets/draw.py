"""Requests of the sizes of buckets, and of sizes between them, with the source's answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from artifacts.errors import Problem, RunError, SourceError, UsageError
from artifacts.padding import Padding, sizes_of
from artifacts.runtime.buckets import told
from artifacts.samples import Sample
from artifacts.schedule import Decode
from artifacts.spec import Signature, TensorSpec
from compiler.decoders import token_masks
from compiler.options import PaddingName
from passes.onnx_to_torch.input_hints import InputHint
from passes.program import Model, SizeBucket, SizeBuckets

Sizes = Mapping[str, int]
Answered = Callable[[Sizes], Sample]
"""Draws a request of these sizes of the source's symbols, and asks the source. Raises RunError where it refuses."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """A request of the size of each bucket, the cheapest first, others of sizes between, and what fills them up.

    `exact` says that answers to padded requests have to agree with the source's. `untried` are buckets, as text, in
    which the source answered no smaller request.
    """

    each: tuple[Sample, ...]
    requests: tuple[Sample, ...]
    fill: Mapping[str, int]
    exact: bool
    untried: tuple[str, ...] = ()

    def answered(self, answer: Callable[[Sample], Sample]) -> Drawn:
        """The same with what the source answers otherwise, its tokens say."""
        return replace(self, each=tuple(map(answer, self.each)), requests=tuple(map(answer, self.requests)))

    @property
    def notices(self) -> tuple[str, ...]:
        """What is not known of padding."""
        return tuple(
            f"what padding does in the bucket for {sizes} was not tried: the source takes none of the smaller requests"
            for sizes in self.untried
        )


def drawn_buckets(callers: Sequence[TensorSpec], each: Sequence[Sizes], answered: Answered) -> Drawn:
    """Requests for buckets of these sizes; `callers` are the inputs that a caller gives.

    Raises UsageError for two buckets of one size, RunError if the source does not run on a bucket's.
    """
    exact = sorted((answered(sizes) for sizes in each), key=lambda sample: _order(callers, sample))
    sizes = [sizes_of(callers, sample.inputs) for sample in exact]
    UsageError.raise_if(
        Problem("options", "--opt-shapes", f"gives the bucket for {told(found)} twice", "give each bucket once")
        for number, found in enumerate(sizes)
        if found in sizes[:number]
    )
    requests, untried = list[Sample](), list[str]()
    for place, of_bucket in enumerate(sizes):
        tried = list(_smaller(sizes, place))
        found = [sample for wanted in tried if (sample := _or_none(answered, wanted)) is not None]
        requests += found
        untried += [] if found or not tried else [told(of_bucket)]
    return Drawn(tuple(exact), tuple(requests), {}, True, tuple(untried))


def _order(callers: Sequence[TensorSpec], sample: Sample) -> tuple[int, ...]:
    """What buckets are ordered by: how many elements a caller gives, and then the sizes."""
    elements = sum(math.prod(sample.inputs[spec.name].shape) for spec in callers)
    return (elements, *sizes_of(callers, sample.inputs).values())


def _or_none(answered: Answered, sizes: Sizes) -> Sample | None:
    try:
        return answered(sizes)
    except RunError:  # no size that the source takes, and so none that anybody asks for
        return None


def _smaller(each: Sequence[Sizes], place: int) -> Iterator[Sizes]:
    """A few sizes that go to a bucket and are smaller: just so, midway, and just above what smaller buckets hold."""
    full = each[place]
    least = {s: 1 + max((other[s] for other in each if other[s] < size), default=0) for s, size in full.items()}
    just = {symbol: max(least[symbol], size - 1) for symbol, size in full.items()}
    midway = {symbol: (least[symbol] + size) // 2 for symbol, size in full.items()}
    found: list[Sizes] = []
    for sizes in (just, midway, least):
        goes_to = next(n for n, other in enumerate(each) if all(size <= other[s] for s, size in sizes.items()))
        if sizes != full and goes_to == place and sizes not in found:
            found.append(sizes)
            yield sizes


def filled(
    drawn: Drawn,
    callers: Sequence[TensorSpec],
    hints: Mapping[str, InputHint],
    pad: int | None,
    wanted: PaddingName,
) -> Drawn:
    """The same with what fills inputs up: the pad token, if it is known, where there are tokens; 0 elsewhere.

    The tokens are those of the input that indexes the largest table. A model that has a mask of them has to answer as
    if there were no padding, unless it is `wanted` otherwise.
    """
    tables = {spec.name: table for spec in callers if (table := hints.get(spec.name, InputHint()).table) is not None}
    tokens = max(tables, key=tables.__getitem__, default=None)
    fill = {spec.name: 0 for spec in callers}
    masks: Collection[str] = ()
    if tokens is not None:
        fill[tokens] = pad if pad is not None and pad < tables[tokens] else 0
        masks = token_masks(Signature(inputs=tuple(callers), outputs=()), hints, tokens)
    exact = bool(masks) if wanted is PaddingName.AUTO else wanted is PaddingName.EXACT
    return replace(drawn, fill=fill, exact=exact)


def with_buckets(model: Model, callers: Collection[str], drawn: Drawn) -> Model:
    """A converted model, whose signature knows which sizes are one and the same, with its buckets.

    Raises SourceError if the graph does not take the size of one.
    """
    specs = [spec for spec in model.signature.inputs if spec.name in callers]
    SourceError.raise_if(
        Problem(
            "convert",
            f"input {spec.name!r}",
            f"is tied to {dim} by the graph at axis {axis}, and a bucket has {array.shape[axis]} there",
            "give buckets that are equal there",
        )
        for sample in drawn.each
        for spec in specs
        for array in (sample.inputs[spec.name],)
        for axis, dim in enumerate(spec.shape)
        if isinstance(dim, int) and dim != array.shape[axis]
    )
    each = tuple(SizeBucket(sizes_of(specs, sample.inputs), sample) for sample in drawn.each)
    padding = Padding(rows=_rows(model, specs), fill=dict(drawn.fill), exact=drawn.exact)
    return replace(model, buckets=SizeBuckets(each, padding, drawn.requests))


def _rows(model: Model, callers: Sequence[TensorSpec]) -> str | None:
    """The symbol that counts rows: a decode's own, or else the first of every output and of nothing else."""
    if isinstance(model.schedule, Decode):
        dim = model.signature.input(model.schedule.tokens).shape[0]
        return dim if isinstance(dim, str) and any(dim in spec.shape for spec in callers) else None
    first = {spec.shape[0] for spec in model.signature.outputs if spec.rank}
    dim = first.pop() if len(first) == 1 else 0
    inside = any(dim in spec.shape[1:] for spec in (*callers, *model.signature.outputs))
    return (
        dim
        if isinstance(dim, str) and not inside and any(dim == spec.shape[0] for spec in callers if spec.rank > 1)
        else None
    )
