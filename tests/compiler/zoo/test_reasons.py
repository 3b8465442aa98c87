from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.key import compilation_key, ingredients
from compiler.options import CompileOptions, ModelFile
from compiler.zoo.reasons import changes

BASE: dict[str, Any] = {
    "models": [["a", "1"], ["b", "2"]],
    "options": {"atol": None, "tokens": {"start": 1, "eos": [2]}, "precision": "fp32"},
    "samples": None,
    "tune": None,
    "buckets": None,
    "bucket_costs": None,
    "calibration": None,
    "generation": {"a/config.json": "1"},
    "tools": {"torch": "2.0", "onnx": "1.0"},
    "shared": True,
    "unspool": "1",
    "machine": ["x86_64", "3.11.0"],
    "serving": None,
}

CHANGED: list[tuple[dict[str, Any], list[str]]] = [
    ({}, []),
    ({"models": [["a", "1"], ["b", "3"]]}, ["model b has changed"]),
    ({"models": [["a", "1"], ["c", "2"]]}, ["model b is gone", "model c is new"]),
    ({"models": [["b", "2"], ["a", "1"]]}, ["models are in another order: a, b -> b, a"]),
    ({"options": {**BASE["options"], "atol": 0.5}}, ["option atol: nothing -> 0.5"]),
    (
        {"options": {**BASE["options"], "precision": "int8", "tokens": {"start": 2, "eos": [2]}}},
        ["option precision: fp32 -> int8", "option tokens.start: 1 -> 2"],
    ),
    ({"options": {**BASE["options"], "tokens": {"start": 1, "eos": []}}}, ["option tokens.eos: [2] -> nothing"]),
    ({"samples": "1"}, ["what --samples names has changed"]),
    ({"bucket_costs": "1", "tune": "2"}, ["what --tune names has changed", "what --bucket-costs names has changed"]),
    ({"generation": {}}, ["a/config.json beside the model has changed"]),
    ({"tools": {"torch": "2.1", "jax": "1"}}, ["jax: nothing -> 1", "onnx: 1.0 -> nothing", "torch: 2.0 -> 2.1"]),
    ({"serving": {"instances": 2}}, ["serving has other settings"]),
    ({"unspool": "2"}, ["Unspool's own code has changed"]),
    ({"machine": ["arm64", "3.11.0"]}, ['another machine: ["x86_64", "3.11.0"] -> ["arm64", "3.11.0"]']),
    ({"shared": False}, ["weights are cut into other shards"]),
]


@pytest.mark.parametrize(("change", "told"), CHANGED)
def test_each_change_in_words(change: dict[str, Any], told: list[str]) -> None:
    assert list(changes(BASE, {**BASE, **change})) == told


def test_a_value_that_is_long_is_cut() -> None:
    (told,) = changes(BASE, {**BASE, "options": {**BASE["options"], "logits": "x" * 1000}})
    assert len(told) < 120
    assert told.endswith("xxx...")


VALUES = st.none() | st.integers(0, 2) | st.sampled_from(["", "x"]) | st.lists(st.integers(0, 1), max_size=1)
OPTIONS = st.dictionaries(
    st.sampled_from("pq"), VALUES | st.dictionaries(st.sampled_from("pq"), VALUES, max_size=2), max_size=2
)
TEXTS = st.dictionaries(st.sampled_from("pq"), st.sampled_from("12"), max_size=2)
INGREDIENTS = st.fixed_dictionaries(
    {
        "models": TEXTS.flatmap(lambda found: st.permutations([[*pair] for pair in found.items()])),
        "options": OPTIONS,
        "samples": st.none() | st.just("1"),
        "tune": st.none() | st.just("1"),
        "buckets": st.none() | st.just("1"),
        "bucket_costs": st.none() | st.just("1"),
        "calibration": st.none() | st.just("1"),
        "generation": TEXTS,
        "tools": TEXTS,
        "shared": st.booleans(),
        "unspool": st.sampled_from("12"),
        "machine": st.lists(st.sampled_from("12"), min_size=2, max_size=2),
    }
)


@given(INGREDIENTS, INGREDIENTS, st.data())
def test_there_is_a_reason_exactly_if_there_is_another_key(
    before: dict[str, Any], other: dict[str, Any], data: st.DataObject
) -> None:
    taken = data.draw(st.sets(st.sampled_from(sorted(other)), max_size=2))
    now = {**before, **{key: other[key] for key in taken}}
    assert bool(changes(before, now)) == (compilation_key(before) != compilation_key(now))
    assert changes(before, before) == ()


def test_every_ingredient_has_a_reason() -> None:
    """One that is added to the key, and not to the reasons, would leave bundles out of date unseen."""
    found = dict(ingredients([ModelFile("a", Path("a"))], {"a": "1"}, CompileOptions(), {}, {}))
    assert set(found) | {"serving"} == set(BASE)
    for key, value in found.items():
        other: Any = {"models": [["a", "2"]], "options": {}, "shared": not value}.get(key, {"x": "1"})
        assert changes(found, {**found, key: other}), key


def test_every_option_has_a_reason_of_its_own() -> None:
    found = dict(ingredients([], {}, CompileOptions(), {}, {}))
    changed = dict(ingredients([], {}, dataclasses.replace(CompileOptions(), atol=0.5, most_buckets=2), {}, {}))
    assert list(changes(found, changed)) == ["option atol: nothing -> 0.5", "option most_buckets: 4 -> 2"]
