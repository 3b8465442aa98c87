from __future__ import annotations

from collections.abc import Callable

from tests.bench.timing import interleaved, turns


def test_turns_are_taken_in_rounds_and_every_other_goes_backwards() -> None:
    order: list[str] = []

    def call(name: str, *seconds: float) -> Callable[[], float]:
        left = iter(seconds)

        def run() -> float:
            order.append(name)
            return next(left)

        return run

    found = turns({"a": call("a", 9, 1, 2, 7), "b": call("b", 9, 5, 5, 5)}, rounds=3, warm_up=1)
    assert found == {"a": 2, "b": 5}
    assert "".join(order) == "abbaabba"


def test_short_calls_get_more_rounds() -> None:
    seconds = iter([1.0, 2.0, 3.0, 4.0, 5.0])
    assert turns({"a": lambda: next(seconds)}, rounds=2, warm_up=0, least_seconds=10) == {"a": 2.5}
    assert next(seconds) == 5


def test_a_clock_times_calls() -> None:
    ticks = iter(range(100))
    found = interleaved({"a": lambda: next(ticks), "b": lambda: None}, 3, warm_up=1, clock=lambda: float(next(ticks)))
    assert found == {"a": 2, "b": 1}
