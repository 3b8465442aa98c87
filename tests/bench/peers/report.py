"""Contests as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from tests.bench.peers.contest import Contest, Slower, slower_cells
from tests.bench.peers.contestants import CONTESTANTS, FLOOR, OURS_INT8, Contestant


def section(contests: Sequence[Contest]) -> str:
    """The table of all contests, and what there is to say of it."""
    versions = {name: version for contest in contests for name, version in contest.versions.items()}
    named = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    speeds = ", ".join(f"{contest.bytes_per_second / 1e9:.1f} GB/s ({contest.sizes.what})" for contest in contests)
    paragraphs = [
        table(contests),
        f"Versions of the peers: {named}. Reading alone: {speeds}.",
        *(f"{contest.sizes.what}: {remark}." for contest in contests for remark in contest.remarks),
        slower(contests),
    ]
    if not any(OURS_INT8 in contest.contestants for contest in contests):
        paragraphs.append(f"{OURS_INT8.title} is not here: the target cannot do it.")
    return "\n\n".join(paragraphs)


def table(contests: Sequence[Contest]) -> str:
    """A column for every contestant; milliseconds, a row for every cell, and then what belongs to a whole model."""
    columns = [found for found in CONTESTANTS if any(found in contest.contestants for contest in contests)]
    lines = [["", *(found.title for found in columns), FLOOR.title], ["---"] * (len(columns) + 2)]
    for contest in contests:
        what = contest.sizes.what
        for cell in contest.cells:
            times = [_number(cell.seconds.get(found.name), 1e3) for found in (*columns, FLOOR)]
            lines.append([f"{what}, batch {cell.rows}, {cell.tokens} tokens, ms", *times])
        for label, shown in _ROWS.items():
            took_part = (*contest.contestants, FLOOR)
            values = [shown(contest, found) if found in took_part else "" for found in (*columns, FLOOR)]
            lines.append([f"{what}, {label}", *values])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def slower(contests: Sequence[Contest]) -> str:
    """Where a peer is faster, in one sentence for each."""
    found = [each for contest in contests for each in slower_cells(contest)]
    if not found:
        return "Nowhere in the table is a peer faster."
    return "\n".join(["A peer is faster here:", "", *(f"- {line}" for line in map(_sentence, found))])


def _sentence(found: Slower) -> str:
    seconds = found.cell.seconds
    ours, theirs = (_number(seconds[one.name], 1e3) for one in (found.ours, found.peer))
    return (
        f"{found.contest.sizes.what}, batch {found.cell.rows}, {found.cell.tokens} tokens: {found.peer.title} takes "
        f"{theirs} ms, {found.ours.title} {ours} ms, {found.ratio:.2f} times as long"
    )


def _floor(contest: Contest, contestant: Contestant) -> str:
    return f"{contest.token_seconds(FLOOR) / contest.token_seconds(contestant):.0%}"


def _own_floor(contest: Contest, contestant: Contestant) -> str:
    return f"{contest.roofline(contestant):.0%}"


def _agreeing(contest: Contest, contestant: Contestant) -> str:
    share = contest.agreeing.get(contestant.name)
    return "" if share is None else f"{share:.1%}"


_ROWS: Mapping[str, Callable[[Contest, Contestant], str]] = MappingProxyType(
    {
        "batch 1, one more token, ms": lambda contest, found: _number(contest.token_seconds(found), 1e3),
        "share of the roofline in float32": _floor,
        "share of its own roofline": _own_floor,
        "tokens as without loss": _agreeing,
        "memory at its peak, MB": lambda contest, found: _number(contest.peak_bytes.get(found.name), 1e-6),
    }
)


def _number(value: float | None, scale: float) -> str:
    """Four digits at most where there is something to show."""
    if value is None:
        return ""
    scaled = value * scale
    return f"{scaled:.0f}" if scaled >= 100 else f"{scaled:.1f}" if scaled >= 10 else f"{scaled:.2f}"
