"""The sizes that a call asks for: several --opt-shapes, or the best for a histogram of sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from artifacts.errors import Problem, UsageError
from artifacts.report import BucketChoice
from artifacts.spec import Signature
from compiler.options import CompileOptions
from compiler.shapes import ShapeRanges, symbol_ranges
from compiler.targets.target import Target
from compiler.tuning.lengths import read_lengths
from compiler.tuning.sizes import best_sizes, named_size, read_size_costs

Sizes = Mapping[str, int]


@dataclass(frozen=True)
class Asked:
    """Sizes by the source's symbols, a bucket each; and how they were chosen, if by a histogram."""

    each: tuple[Sizes, ...]
    choice: BucketChoice | None = None


def bucket_problems(options: CompileOptions, target: Target) -> list[Problem]:
    """A problem for every option of buckets that contradicts another, or means nothing to a target."""
    further, chosen = bool(options.further_ranges), options.buckets is not None
    problems = []
    if chosen and not target.static_shapes:
        hint = "leave it out: one engine takes all sizes"
        problems.append(Problem("options", "--buckets", f"means nothing to target {target.name}", hint))
    if chosen and further:
        problems.append(
            Problem("options", "--buckets", "chooses what several --opt-shapes set", "leave out one of them")
        )
    if options.bucketed and not chosen:
        problems.append(Problem("options", "--bucketed", "says what the sizes of --buckets are of", "give --buckets"))
    if options.bucket_costs is not None and not chosen:
        problems.append(Problem("options", "--bucket-costs", "weighs the sizes of --buckets", "give --buckets"))
    if target.static_shapes and further and any(ranges.min or ranges.max for ranges in options.ranges):
        message = f"means nothing to buckets: engines for {target.name} take one size each"
        problems.append(Problem("options", "--min-shapes, --max-shapes", message, "give --opt-shapes for each bucket"))
    return problems


def asked_buckets(options: CompileOptions, target: Target, name: str, signature: Signature) -> Asked | None:
    """The buckets of a model, None if there are none.

    Raises UsageError with everything in the call that does not fit the model's signature.
    """
    if not target.static_shapes or (options.buckets is None and not options.further_ranges):
        return None
    each = [_usual(signature, ranges) for ranges in options.ranges]
    if options.buckets is None:
        symbols = {symbol for sizes in each for symbol in sizes}
        UsageError.raise_if(
            Problem(
                "options",
                f"--opt-shapes, bucket {number + 1}",
                f"has no size of {symbol}, and another bucket has",
                "give the same inputs in each",
            )
            for number, sizes in enumerate(each)
            for symbol in sorted(symbols - sizes.keys())
        )
        return Asked(tuple(each))
    symbols_of = _bucketed(options, signature)
    lengths = read_lengths(options.buckets)
    costs = None if options.bucket_costs is None else read_size_costs(options.bucket_costs)
    found, one = (best_sizes(lengths, most, costs) for most in (options.most_buckets, 1))
    choice = BucketChoice(
        model=name,
        symbols=symbols_of,
        sizes=found.sizes,
        shares=found.shares,
        padding=found.padding,
        padding_of_one=one.padding,
        cost=found.cost,
        cost_of_one=one.cost,
    )
    return Asked(tuple({**each[0], **dict.fromkeys(symbols_of, size)} for size in found.sizes), choice)


def _usual(signature: Signature, ranges: ShapeRanges) -> dict[str, int]:
    return {symbol: found.usual for symbol, found in symbol_ranges(signature, ShapeRanges(opt=ranges.opt)).items()}


def _bucketed(options: CompileOptions, signature: Signature) -> tuple[str, ...]:
    """The symbols whose sizes the histogram has. Raises UsageError."""
    assert options.buckets is not None
    named = named_size(options.buckets)
    names = options.bucketed or (() if named is None else (named,))
    symbols = signature.symbols
    there = f"the model's are {', '.join(symbols) or 'none'}"
    if not names:
        message = "does not say what its sizes are of"
        hint = f"give --bucketed SYMBOL or INPUT:AXIS, or the file a heading; {there}"
        raise UsageError.of("options", f"--buckets {options.buckets}", message, hint)
    found = {name: name if name in symbols else _at_axis(name, signature) for name in names}
    UsageError.raise_if(
        Problem("options", "--buckets", f"{name!r} is no size that varies", f"give --bucketed; {there}")
        for name, symbol in found.items()
        if symbol is None
    )
    return tuple(dict.fromkeys(symbol for symbol in found.values() if symbol is not None))


def _at_axis(name: str, signature: Signature) -> str | None:
    """The symbol that `INPUT:AXIS` names."""
    given, _, axis = name.rpartition(":")
    spec = next((spec for spec in signature.inputs if spec.name == given), None)
    if spec is None or not axis.isdigit() or int(axis) >= spec.rank:
        return None
    dim = spec.shape[int(axis)]
    return dim if isinstance(dim, str) else None
