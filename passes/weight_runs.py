"""Find contents that lie, whole, inside larger ones.

The bytes of a content that is a run of rows of another are there already. Where it could begin is told by one word of
eight bytes in it: the larger content is hashed word by word, and every place whose word fits is compared in full.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from artifacts.mapped_pages import give_back_pages
from artifacts.weights import Bytes

Words = npt.NDArray[np.uint64]

WORD_BYTES = 8
CHUNK_WORDS = 1 << 20
"""Words that are looked at at a time: what a search holds in memory is a few times their 8 MB."""

MOST_TRIALS = 64
"""How many places in one larger content are compared in full for one smaller content.

Only contents that repeat themselves, zeros for instance, have more places that fit and are not it.
"""

_SAMPLED_WORDS = 64
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(48)


@dataclass(frozen=True)
class Run:
    """Where a content lies: from byte `offset` on in the content `digest`."""

    digest: str
    offset: int


def find_runs(contents: Mapping[str, Bytes], alignments: Mapping[str, int]) -> dict[str, Run]:
    """For each content that lies inside a larger one, its first place in the largest of those.

    `contents` are uint8 [n] by digest. `alignments` gives the bytes of an element of each, of which a place is a
    multiple, and so is the size of what it lies in. What is found is never the place of another.
    """
    groups: dict[int, dict[str, _Key]] = defaultdict(dict)
    for digest, data in contents.items():
        if data.nbytes >= WORD_BYTES:
            groups[min(alignments[digest], WORD_BYTES)][digest] = _Key.of(data)
            give_back_pages(data)  # the system maps far more of a file than the few words that were looked at
    found: dict[str, Run] = {}
    for holder, data in sorted(contents.items(), key=lambda item: (-item[1].nbytes, item[0])):
        if holder in found:
            continue
        for alignment, group in groups.items():
            if data.nbytes % alignment:  # a shard could not have it as elements of that size
                continue
            wanted = {d: k for d, k in group.items() if d not in found and contents[d].nbytes < data.nbytes}
            if wanted:
                found |= _runs_in(holder, data, alignment, {d: (contents[d], k) for d, k in wanted.items()})
        give_back_pages(data)
    return found


@dataclass(frozen=True)
class _Key:
    """The word at byte `place` of a content, by which it is looked for."""

    word: int
    place: int

    @classmethod
    def of(cls, data: Bytes) -> _Key:
        """The rarest of some words: rows of zeros, which many contents begin with, would be found everywhere."""
        words = _words(data, 0)
        places = np.unique(np.linspace(0, len(words) - 1, _SAMPLED_WORDS, dtype=np.int64))
        _, first, counts = np.unique(words[places], return_index=True, return_counts=True)
        place = places[first[np.lexsort((first, counts))[0]]]
        return cls(int(words[place]), int(place) * WORD_BYTES)


def _words(data: Bytes, phase: int) -> Words:
    """The words from a byte on, a last one that is not whole left out."""
    count = (data.nbytes - phase) // WORD_BYTES
    return data[phase : phase + count * WORD_BYTES].view("<u8")


def _runs_in(holder: str, data: Bytes, alignment: int, wanted: Mapping[str, tuple[Bytes, _Key]]) -> dict[str, Run]:
    """Those of the wanted contents that lie in one larger content."""
    by_word: dict[int, list[str]] = defaultdict(list)
    for digest, (_, key) in wanted.items():
        by_word[key.word].append(digest)
    found: dict[str, Run] = {}
    trials: Counter[str] = Counter()
    for word, place in _places(data, alignment, by_word):
        for digest in list(by_word[word]):
            content, key = wanted[digest]
            offset = place - key.place
            if offset < 0 or offset + content.nbytes > data.nbytes:
                continue
            trials[digest] += 1
            if equal_bytes(data[offset : offset + content.nbytes], content):
                found[digest] = Run(holder, offset)
            give_back_pages(content)
            if digest in found or trials[digest] == MOST_TRIALS:
                by_word[word].remove(digest)
        if not by_word[word]:
            del by_word[word]
    return found


def _places(data: Bytes, alignment: int, words: Mapping[int, object]) -> Iterator[tuple[int, int]]:
    """Words of the data at multiples of the alignment, and the bytes where they are: of `words`, which may shrink.

    Of places in one chunk that hold the same word only some are given.
    """
    for phase in range(0, WORD_BYTES, alignment):
        every = _words(data, phase)
        for start in range(0, len(every), CHUNK_WORDS):
            chunk = every[start : start + CHUNK_WORDS]
            wanted = np.array(sorted(words), np.uint64)
            is_near = np.zeros(1 << 16, np.bool_)
            is_near[(wanted * _MULTIPLIER) >> _SHIFT] = True
            near = np.flatnonzero(is_near[(chunk * _MULTIPLIER) >> _SHIFT])
            places = near[np.isin(chunk[near], wanted)]
            for word in np.unique(chunk[places]):
                for place in places[chunk[places] == word][:MOST_TRIALS]:
                    if int(word) in words:
                        yield int(word), phase + (start + int(place)) * WORD_BYTES


def equal_bytes(one: Bytes, other: Bytes) -> bool:
    """Whether two contents of one size are equal, compared piece by piece: most that are not differ early."""
    ends = (0, 1 << 12, *range(1 << 23, one.nbytes, 1 << 23), one.nbytes)
    return all(np.array_equal(one[a:b], other[a:b]) for a, b in itertools.pairwise(ends) if a < b)
