"""What neuronx-cc says when it fails: its error code if there is one, its own words, and what to make of it.

Documented are the codes, NCC_EVRF001 say, and a sentence for each ("Neuron Compiler Error Codes"). That they stand in
brackets, and how lines begin, is what people have shown in public reports.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

LONGEST_WORDS = 600
"""Characters of the compiler's words that an error repeats."""

MANY_INSTRUCTIONS = "the graph is too large for one NEFF: cut the decoder with --partitions, or take a smaller batch"
_DEVICE_MEMORY = "it does not fit into the memory of the device: take a smaller batch, or fewer tokens in one engine"
_OPERATOR = "`neuronx-cc list-operators --framework XLA` lists what it takes"
_INTEGERS = "it computes this in float32, which is exact below 2**24 only, and was told not to"
_TYPE = "the target has no such element type: compile in another --precision"

EXPLAINED: Mapping[str, str] = MappingProxyType(
    {
        "NCC_EARG001": "the target does not have that many logical cores",
        "NCC_EARG002": "this compiler does not know one of the arguments; NEURON_CC_FLAGS may have it too",
        "NCC_EBVF030": MANY_INSTRUCTIONS,
        "NCC_EVRF007": MANY_INSTRUCTIONS,
        "NCC_EXTP004": MANY_INSTRUCTIONS,
        "NCC_EMOD025": "every size has to be fixed before it compiles",
        "NCC_EOOM001": _DEVICE_MEMORY,
        "NCC_EOOM002": _DEVICE_MEMORY,
        "NCC_EVRF009": _DEVICE_MEMORY,
        "NCC_EUOC002": _OPERATOR,
        "NCC_EVRF001": _OPERATOR,
        "NCC_EVRF035": _INTEGERS,
        "NCC_EVRF060": _INTEGERS,
        "NCC_ESFH002": "a constant of 64 bits does not fit into the 32 that it computes in",
        "NCC_ESPP004": _TYPE,
        "NCC_ESPP047": _TYPE,
        "NCC_EVRF056": "a table of positions is shorter than the sequence",
        # Of the command line itself, not of the compiler's pages.
        "F137": "a process of its own was killed, most often because this machine ran out of memory",
    }
)
"""In our words, by code."""

_CODE = re.compile(r"\[((?:NCC_)?[A-Z]{1,5}[0-9]{3})\]")
_PREFIX = re.compile(r"^.{0,40}?\b(?:ERROR|CRITICAL|WARNING|INFO)\s+[0-9]+\s+\[neuronx-cc\]:\s?")
_STATED = re.compile(r"\berror( message)?:", re.IGNORECASE)
_RULE = re.compile(r"[*=\-\s]*")


@dataclass(frozen=True)
class Complaint:
    """What the compiler complains of: `code` is "" if it gave none, `explanation` if nothing is known of the code."""

    words: str
    code: str = ""
    explanation: str = ""


def complaint(said: str) -> Complaint:
    """What the compiler complains of in all that it said: by code, or else by what it calls an error, or at its end."""
    lines = [_PREFIX.sub("", line).strip() for line in said.splitlines()]
    for index, line in enumerate(lines):
        match = _CODE.search(line)
        if match and "warn" not in line.lower():
            words = _joined([line[match.start() :], *lines[index + 1 :]])
            return Complaint(words, match[1], EXPLAINED.get(match[1], ""))
    stated = [index for index, line in enumerate(lines) if _STATED.search(line) and "warn" not in line.lower()]
    if stated:
        return Complaint(_joined(lines[stated[0] :]))
    spoken = [line for line in lines if not _RULE.fullmatch(line)]
    return Complaint(_joined(spoken[-3:]) or "it said nothing")


def _joined(lines: Sequence[str]) -> str:
    """A paragraph of the first few lines, up to one that is empty."""
    paragraph: list[str] = []
    for line in lines[:4]:
        if _RULE.fullmatch(line):
            break
        paragraph.append(line)
    text = " ".join(paragraph)
    return text if len(text) <= LONGEST_WORDS else f"{text[:LONGEST_WORDS]}..."
