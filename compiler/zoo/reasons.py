"""Why a bundle is made anew: what goes into it now against what went into the one that is there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

_FILES = {
    "samples": "--samples",
    "tune": "--tune",
    "buckets": "--buckets",
    "bucket_costs": "--bucket-costs",
    "calibration": "--calibration",
}


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    """What is another now, in words; () if nothing is."""
    return tuple(_changes(before, now))


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    yield from _models(dict(before["models"]), dict(now["models"]))
    yield from _options(before["options"], now["options"])
    for key, flag in _FILES.items():
        if before.get(key) != now.get(key):
            yield f"what {flag} names has changed"
    for name in _different(before["generation"], now["generation"]):
        yield f"{name} beside the model has changed"
    for name in _different(before["tools"], now["tools"]):
        yield f"{name}: {_shown(before['tools'].get(name))} -> {_shown(now['tools'].get(name))}"
    if before.get("serving") != now.get("serving"):
        yield "serving has other settings"
    if before["unspool"] != now["unspool"]:
        yield "Unspool's own code has changed"
    if before["machine"] != now["machine"]:
        yield f"another machine: {_shown(before['machine'])} -> {_shown(now['machine'])}"
    if before["shared"] != now["shared"]:
        yield "weights are cut into other shards"


def _models(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    for name in _different(before, now):
        state = "is gone" if name not in now else "is new" if name not in before else "has changed"
        yield f"model {name} {state}"
    if before == now and [*before] != [*now]:
        yield f"models are in another order: {', '.join(before)} -> {', '.join(now)}"


def _options(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Options that differ, sections by what differs in them."""
    for name in _different(before, now):
        old, new = before.get(name), now.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            for key in _different(old, new):
                yield f"option {name}.{key}: {_shown(old.get(key))} -> {_shown(new.get(key))}"
        else:
            yield f"option {name}: {_shown(old)} -> {_shown(new)}"


def _different(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [name for name in sorted({*before, *now}) if before.get(name, ...) != now.get(name, ...)]


def _shown(value: Any) -> str:
    text = "nothing" if value in (None, [], "") else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
