"""Choose the sizes that engines of static shapes are made for, by how often each size is asked for."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from artifacts.errors import UsageError
from compiler.tuning.cuts import cheapest_cuts
from compiler.tuning.lengths import Lengths

STAGE = "buckets"
MOST_SIZES = 1024
"""Sizes that are looked at. Of more, some next to each other become the largest of them."""

_HINT = "write size,cost lines, or JSON of {size: cost}, with numbers of 0 or more"


@dataclass(frozen=True)
class ChosenSizes:
    """Sizes, ascending, the last of which holds every request, and the expected cost of a request.

    `padding` is the share of what is computed that stands for nothing a request has: 1 - E[size] / E[its bucket].
    `shares` are of the requests, by the size that holds them.
    """

    sizes: tuple[int, ...]
    cost: float
    padding: float
    shares: tuple[float, ...]


def best_sizes(asked: Lengths, most: int, costs: Mapping[int, float] | None = None) -> ChosenSizes:
    """The sizes, at most `most` of them, of the least expected cost; fewer if more would not be cheaper.

    A request costs what the smallest size that holds it does: that size, unless `costs` say otherwise, between whose
    sizes costs are on a line. The part from the a-th to the b-th size asked for is held by the b-th: a dynamic program
    over these. Raises UsageError for a size that lies outside of `costs`.
    """
    probabilities = np.array(asked.probabilities)
    sizes = _candidates(np.flatnonzero(probabilities).tolist())
    reached = np.concatenate([[0.0], np.cumsum(probabilities)[sizes]])
    cost = np.array(sizes, np.float64) if costs is None else _between(sizes, costs)
    held = reached[None, 1:] - reached[:-1, None]
    spent = np.zeros((len(sizes) + 1, len(sizes) + 1))
    spent[:-1, 1:] = held * cost[None, :]
    ends = cheapest_cuts(spent, 0, most)
    bounds = [0, *ends]
    shares = tuple(float(reached[end] - reached[begin]) for begin, end in zip(bounds, ends, strict=False))
    chosen = tuple(sizes[end - 1] for end in ends)
    expected = sum(share * size for share, size in zip(shares, chosen, strict=True))
    paid = sum(share * cost[end - 1] for share, end in zip(shares, ends, strict=True))
    return ChosenSizes(chosen, float(paid), float(1 - asked.mean / expected), shares)


def _candidates(sizes: list[int]) -> list[int]:
    step = -(-sizes[-1] // MOST_SIZES)
    if len(sizes) <= MOST_SIZES:
        return sizes
    return sorted({min(-(-size // step) * step, sizes[-1]) for size in sizes})


def _between(sizes: list[int], costs: Mapping[int, float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    known = sorted(costs)
    outside = [size for size in (sizes[0], sizes[-1]) if not known[0] <= size <= known[-1]]
    if outside:
        message = f"tell nothing of size {outside[-1]}: they go from {known[0]} to {known[-1]}"
        raise UsageError.of(STAGE, "costs", message, "measure the smallest and the largest size too")
    return np.interp(sizes, known, [costs[size] for size in known])


def read_size_costs(path: Path) -> dict[int, float]:
    """What sizes cost, in any unit, from .csv or .json. Raises UsageError naming the file."""
    try:
        text = path.read_text("utf-8")
        found = _of_json(text) if path.suffix.lower() == ".json" else _of_csv(text)
    except OSError as error:
        raise UsageError.of(STAGE, str(path), f"cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, AttributeError, RecursionError, csv.Error) as error:
        raise UsageError.of(STAGE, str(path), f"holds no costs: {error}", _HINT) from error
    if not found or min(found) < 1 or not all(0 <= cost < float("inf") for cost in found.values()):
        raise UsageError.of(STAGE, str(path), "holds no costs of sizes from 1 on", _HINT)
    return found


def _of_csv(text: str) -> dict[int, float]:
    rows = [row for row in csv.reader(io.StringIO(text)) if any(cell.strip() for cell in row)]
    if rows and not rows[0][0].strip().isdigit():
        rows = rows[1:]
    return {int(size): float(cost) for size, cost in rows}


def _of_json(text: str) -> dict[int, float]:
    return {int(size): float(cost) for size, cost in json.loads(text).items()}


def named_size(path: Path) -> str | None:
    """What the heading of a .csv says that its first column counts; None if it has none."""
    if path.suffix.lower() != ".csv":
        return None
    try:
        first = next(csv.reader(io.StringIO(path.read_text("utf-8"))), [])
    except (OSError, ValueError, csv.Error):  # whoever reads the sizes tells it
        return None
    name = first[0].strip() if first else ""
    return name if name and not name.isdigit() else None
