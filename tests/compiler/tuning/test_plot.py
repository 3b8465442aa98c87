from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from compiler.options import ScheduleName
from compiler.tuning.choose import Form, Objective, choices, curves, predicted
from compiler.tuning.costs import Costs, StepCost
from compiler.tuning.lengths import Lengths
from compiler.tuning.plot import page
from compiler.tuning.tune import Row, Tuned

LIMIT = 20
LENGTHS = Lengths.of({2: 60, 5: 30, 11: 8, 18: 2})
COSTS = Costs(
    encoder=3, loop=StepCost(step=2, growth=0.25), partition=StepCost(call=4, step=1, growth=0.125)
)  # sums of these are exact


def tuned(costs: Costs = COSTS) -> Tuned:
    found = choices(costs, LENGTHS, LIMIT, Objective.MEAN, 8)
    return Tuned(LENGTHS, LIMIT, costs, tuple(map(Row, found)), curves(costs, LENGTHS, LIMIT, Objective.MEAN))


class Page(HTMLParser):
    """The scripts of a page, and what its tags would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.tags: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [f"{tag} {name}={value}" for name, value in attrs if name in {"src", "href", "data", "action"}]

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] == "script":
            self.scripts.append(data)


@pytest.fixture(scope="module")
def drawn() -> Page:
    return Page(page("ocr", tuned()))


def traces(drawn: Page) -> dict[str, dict[str, Any]]:
    """What is drawn, by name: the second argument of the call that draws."""
    (call,) = (script for script in drawn.scripts if "Plotly.newPlot(" in script and len(script) < 100_000)
    text = re.split(r"Plotly\.newPlot\(\s*\"chart\",\s*", call)[1]
    found, _ = json.JSONDecoder().raw_decode(text)
    return {trace["name"]: trace for trace in found}


def test_the_page_loads_nothing(drawn: Page) -> None:
    assert drawn.loaded == []
    assert {"link", "img", "iframe", "object", "embed"}.isdisjoint(drawn.tags)
    assert any(len(script) > 1_000_000 for script in drawn.scripts), "the library that draws is inside"


def test_the_curves_are_the_costs_by_where_the_first_partition_ends(drawn: Page) -> None:
    found = traces(drawn)
    for first in range(1, LIMIT):
        two = predicted(COSTS, Form(ScheduleName.PARTITIONED, (first, LIMIT)), LENGTHS, LIMIT)
        thirds = [
            predicted(COSTS, Form(ScheduleName.PARTITIONED, (first, second, LIMIT)), LENGTHS, LIMIT)
            for second in range(first + 1, LIMIT)
        ]
        three = min([two, *thirds], key=lambda choice: choice.mean)
        assert found["two partitions, mean"]["x"][first - 1] == first
        assert found["two partitions, mean"]["y"][first - 1] == pytest.approx(two.mean)
        assert found["two partitions, p95"]["y"][first - 1] == pytest.approx(two.p95)
        assert found["three, the second cut where it is best, mean"]["y"][first - 1] == pytest.approx(three.mean)


def test_lengths_and_steps_have_the_same_axis(drawn: Page) -> None:
    found = traces(drawn)
    bars = found["lengths"]
    assert {n: share for n, share in zip(bars["x"], bars["y"], strict=True) if share} == {2: 60, 5: 30, 11: 8, 18: 2}
    assert found["step, loop"]["y"] == [2 + 0.25 * position for position in range(LIMIT)]
    assert found["step, partitioned and 4 a call"]["x"] == list(range(1, LIMIT + 1))


def test_forms_without_a_boundary_are_level_lines_and_cuts_are_named(drawn: Page) -> None:
    found = traces(drawn)
    loop = predicted(COSTS, Form(ScheduleName.LOOP), LENGTHS, LIMIT)
    assert found["loop, mean"]["y"] == [pytest.approx(loop.mean)] * 2
    text = "".join(script for script in drawn.scripts if len(script) < 100_000)
    best = next(row.choice.form for row in tuned().rows if row.choice.form.boundaries)
    assert f"best cuts {','.join(map(str, best.boundaries))}" in text
    assert "equal thirds 7,14,20" in text


def test_a_target_without_partitions_has_a_chart_too() -> None:
    found = traces(Page(page("ocr", tuned(Costs(loop=StepCost(step=2))))))
    assert found.keys() == {"loop, mean", "lengths", "step, loop"}
