"""Where the bytes of weights lie in those of a plan, whatever the plan's layout.

A builder keeps a weight as it was given, turns it (a matrix transposed, a kernel of a convolution with its channels
last), or puts rows of several side by side, as those of query, key and value that become one product. What it folded,
cast or quantised is not there.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from pydantic import Field

from artifacts.canonical import sha256_bytes
from artifacts.noun import Noun
from artifacts.weights import Array, Size

SMALL_BYTES = 512
"""Weights up to this size are not looked for: their bytes may be anywhere by chance."""

Pieces = npt.NDArray[np.int64]
"""Runs of bytes int64 [n, 2]: begin and end, ascending, none touching another."""

Data = bytes | mmap.mmap
Run = tuple[int, int]
"""Where a run of bytes begins and ends."""

_WINDOW = 8
_CHUNK = 1 << 20
_SPOTS = 64
_AROUND = 1 << 16
_REPEATS = 8
_LEAST_ROW = 16
_FARTHEST = 64


class HeldWeights(Noun):
    """The weights of a plan, each content once, and how they were found again in it.

    `once_bytes` are of those that lie there as they were given; `held_bytes` count every copy of these, and `repeated`
    says how often those are there that are more than once. `turned_bytes` lie there with their axes turned, and
    `joined_bytes` row by row, with others or nothing between the rows. `other_bytes` do not; `small_bytes` were not
    looked for.
    """

    tensors: Size = 0
    bytes: Size = 0
    once_bytes: Size = 0
    held_bytes: Size = 0
    turned_bytes: Size = 0
    joined_bytes: Size = 0
    other_bytes: Size = 0
    small_bytes: Size = 0
    repeated: dict[str, Size] = Field(default_factory=dict)


def find_weights(plan: Data, weights: Mapping[str, Array]) -> tuple[HeldWeights, Pieces]:
    """How a plan holds weights, and where. Weights of one content are one, by the first of their names."""
    given = _distinct(weights)
    sought = {name: array for name, array in given.items() if array.nbytes > SMALL_BYTES}
    size = {name: array.nbytes for name, array in given.items()}

    def pieces(*found: Mapping[str, Sequence[int]]) -> Pieces:
        return _merged((at, at + size[name]) for each in found for name, places in each.items() for at in places)

    as_given = _search(plan, {name: [_flat(array)] for name, array in sought.items()}, [(0, len(plan))])
    left = {name: array for name, array in sought.items() if name not in as_given}
    # Where one weight is there is no other.
    turned = _search(plan, {n: map(_flat, _turned(a)) for n, a in left.items()}, gaps(pieces(as_given), len(plan)))
    left = {name: array for name, array in left.items() if name not in turned}
    joined = _search_rows(plan, left, gaps(pieces(as_given, turned), len(plan)))
    small = sum(size.values()) - sum(size[name] for name in sought)
    held = HeldWeights(
        tensors=len(given),
        bytes=sum(size.values()),
        once_bytes=sum(size[name] for name in as_given),
        held_bytes=sum(size[name] * len(places) for name, places in as_given.items()),
        turned_bytes=sum(size[name] for name in turned),
        joined_bytes=sum(size[name] for name in joined),
        other_bytes=sum(size[name] for name in left if name not in joined),
        small_bytes=small,
        repeated={name: len(places) for name, places in as_given.items() if len(places) > 1},
    )
    rows = [row for each in joined.values() for row in each]
    return held, _merged([*map(tuple, pieces(as_given, turned).tolist()), *rows])


def _distinct(weights: Mapping[str, Array]) -> dict[str, Array]:
    """Those weights whose content no earlier one has. Only contents that begin alike are read whole."""
    alike: dict[tuple[int, bytes], list[str]] = {}
    for name, array in weights.items():
        flat = _flat(array)
        alike.setdefault((len(flat), bytes(flat[:SMALL_BYTES])), []).append(name)
    contents: dict[str, str] = {}
    for names in alike.values():
        for name in names:
            contents.setdefault(name if len(names) == 1 else sha256_bytes(_flat(weights[name])), name)
    kept = set(contents.values())
    return {name: array for name, array in weights.items() if name in kept}


def gaps(pieces: Pieces, size: int) -> list[tuple[int, int]]:
    """What is not in the pieces of `size` bytes: where each run of it begins and ends."""
    edges = [0, *pieces.reshape(-1).tolist(), size]
    return [(begin, end) for begin, end in zip(edges[::2], edges[1::2], strict=True) if begin < end]


def _merged(runs: Iterable[Run]) -> Pieces:
    merged: list[list[int]] = []
    for begin, end in sorted(runs):
        if merged and begin <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([begin, end])
    return np.array(merged, np.int64).reshape(-1, 2)


def _flat(array: Array) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _turned(array: Array) -> list[Array]:
    """The other orders of axes that builders keep weights in."""
    if array.ndim < 2:
        return []
    last = [*range(array.ndim)]
    orders = [[*last[:-2], last[-1], last[-2]], [0, *last[2:], 1]]
    return [array.transpose(order) for order in orders[: 1 if array.ndim == 2 else 2]]


def _search(plan: Data, needles: Mapping[str, Iterable[memoryview]], where: Sequence[Run]) -> dict[str, list[int]]:
    """Where the first of a name's needles that is there lies, each time that it does, within some runs of bytes."""
    forms = [(name, needle) for name, each in needles.items() for needle in each if len(needle) >= 2 * _WINDOW]
    by_window: dict[int, list[tuple[int, int]]] = {}
    places: dict[int, list[int]] = {number: [] for number in range(len(forms))}
    for number, (_, needle) in enumerate(forms):
        at, repeats = _window(needle)
        if repeats:
            places[number] = _everywhere(plan, bytes(needle))
            continue
        # Wherever the needle lies, one of these begins at a multiple of their length: no other place is looked at.
        for begin in range(at, at + _WINDOW):
            by_window.setdefault(int.from_bytes(needle[begin : begin + _WINDOW], "little"), []).append((number, begin))
    view = memoryview(plan)
    hits = (hit for run in where for hit in _hits(plan, sorted(by_window), run))
    for place, window in hits:
        for number, at in by_window[window]:
            needle, begin = forms[number][1], place - at
            if begin >= 0 and view[begin : begin + len(needle)] == needle:
                places[number].append(begin)
    found: dict[str, list[int]] = {}
    for number, (name, needle) in enumerate(forms):
        if apart := _apart(sorted(places[number]), len(needle)):
            found.setdefault(name, apart)
    return found


def _window(needle: memoryview) -> tuple[int, bool]:
    """Where the window with the most different bytes among some begins, and whether it is there too often to look for.

    A window that is in its needle a few times at most makes comparisons that are no more than a few passes.
    """
    spots = np.unique(np.linspace(0, len(needle) - 2 * _WINDOW, _SPOTS).astype(int))
    at = max(map(int, spots), key=lambda spot: len(set(needle[spot : spot + _WINDOW])))
    around = bytes(needle[max(0, at - _AROUND) : at + _AROUND])
    return at, around.count(bytes(needle[at : at + _WINDOW])) > _REPEATS


def _everywhere(plan: Data, needle: bytes) -> list[int]:
    places, place = [], plan.find(needle)
    while place >= 0:
        places.append(place)
        place = plan.find(needle, place + len(needle))
    return places


def _apart(places: Sequence[int], size: int) -> list[int]:
    """Those of ascending places whose needles do not overlap an earlier one's."""
    kept: list[int] = []
    for place in places:
        if not kept or place >= kept[-1] + size:
            kept.append(place)
    return kept


def _hits(plan: Data, windows: Sequence[int], run: Run) -> list[tuple[int, int]]:
    """Where windows are in a run of a plan's bytes, at multiples of their length: each place and its window."""
    if not windows:
        return []
    words = np.frombuffer(plan, "<u8", (run[1] - run[0]) // _WINDOW, run[0])
    known = np.array(windows, np.uint64)
    # Few words have the lowest bytes of one of the windows: only those are compared with them.
    may_be = np.zeros(1 << 16, np.bool_)
    may_be[known & np.uint64(0xFFFF)] = True
    found: list[tuple[int, int]] = []
    for start in range(0, len(words), _CHUNK):
        chunk = words[start : start + _CHUNK]
        likely = np.flatnonzero(may_be[chunk.view("<u2")[::4]])
        likely = likely[np.isin(chunk[likely], known)]
        first = run[0] + _WINDOW * start
        found += [(first + _WINDOW * int(index), int(chunk[index])) for index in likely]
    return found


def _search_rows(plan: Data, arrays: Mapping[str, Array], where: Sequence[Run]) -> dict[str, list[Run]]:
    """The rows of matrices that lie one after another at one distance, each with its begin and end."""
    matrices = {name: [array, array.T] for name, array in arrays.items() if array.ndim == 2 and len(array) > 1}
    matrices = {n: [np.ascontiguousarray(m) for m in each if len(m) > 1] for n, each in matrices.items()}
    forms = {f"{name}/{number}": (name, m) for name, each in matrices.items() for number, m in enumerate(each)}
    forms = {form: (name, m) for form, (name, m) in forms.items() if m[0].nbytes >= _LEAST_ROW}
    first = _search(plan, {form: [_flat(matrix[0])] for form, (_, matrix) in forms.items()}, where)
    found: dict[str, list[Run]] = {}
    for form, places in first.items():
        name, matrix = forms[form]
        for place in places[:_REPEATS]:
            if name not in found and (rows := _rows_from(plan, matrix, place)):
                found[name] = rows
    return found


def _rows_from(plan: Data, matrix: Array, place: int) -> list[Run]:
    width, second = matrix[0].nbytes, bytes(_flat(matrix[1]))
    distance = plan.find(second, place + width, place + width * _FARTHEST) - place
    if distance < 0 or place + distance * (len(matrix) - 1) + width > len(plan):
        return []
    rows = matrix.view(np.uint8).reshape(len(matrix), width)
    flat = np.frombuffer(plan, np.uint8)
    if not np.array_equal(np.lib.stride_tricks.as_strided(flat[place:], rows.shape, (distance, 1)), rows):
        return []
    return [(begin, begin + width) for begin in range(place, place + distance * len(matrix), distance)]
