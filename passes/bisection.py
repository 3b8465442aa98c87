"""Find the first value that moved without keeping values: a bisection, then a walk back along dependences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

Verdict = bool | None
"""True: the value moved; False: it did not; None: it cannot be compared."""


def first_moved(
    names: Sequence[str], moved: Callable[[str], Verdict], inputs_of: Callable[[str], Iterable[str]]
) -> str | None:
    """The name of a value that moved while none of its comparable inputs did; None if no value moved.

    `names` are in topological order and the last one that can be compared is expected to have moved. A movement
    may fade on its way, so the bisection alone could stop at a consequence: the walk back along `inputs_of` ends
    at a cause. Each probe runs the model twice; about log2(len(names)) probes are made, and a few for the walk.
    """
    verdicts: dict[str, Verdict] = {}

    def probe(name: str) -> Verdict:
        if name not in verdicts:
            verdicts[name] = moved(name)
        return verdicts[name]

    found = _bisect(names, probe)
    while found is not None:
        earlier = next((name for name in inputs_of(found) if probe(name)), None)
        if earlier is None:
            return found
        found = earlier
    return None


def _bisect(names: Sequence[str], probe: Callable[[str], Verdict]) -> str | None:
    last = next((n for n in range(len(names) - 1, -1, -1) if probe(names[n]) is not None), -1)
    if last < 0 or not probe(names[last]):
        return None
    good, bad = -1, last
    while True:
        # Values that cannot be compared are passed over, nearest to the middle first.
        middle = (good + bad) // 2
        candidates = sorted(range(good + 1, bad), key=lambda n: abs(n - middle))
        tried = next((n for n in candidates if probe(names[n]) is not None), None)
        if tried is None:
            return names[bad]
        if probe(names[tried]):
            bad = tried
        else:
            good = tried
