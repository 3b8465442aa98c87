from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.options import CompileOptions
from compiler.zoo.jobs import JobLimits, Needs
from compiler.zoo.work import Ending, Event, Family, Queue, Work


def work(job: str) -> Work:
    return Work(job, (), CompileOptions(), Path(job), "store", Path("log"), JobLimits())


@dataclass(eq=False)
class Few:
    """A pool with room for so many families, and for none that needs more processors than it has."""

    room: int
    cpus: float = 1.0
    started: list[Family] = field(default_factory=list)
    name: str = "few"

    def takes(self, family: Family) -> bool:
        return len(self.started) < self.room and family.needs.cpus <= self.cpus

    def start(self, family: Family) -> None:
        self.started.append(family)

    def events(self) -> Sequence[Event]:
        return ()

    @property
    def busy(self) -> bool:
        return bool(self.started)

    def stop(self) -> Sequence[Event]:
        return ()


FAMILIES = st.lists(
    st.builds(Family, st.just(()), estimate=st.sampled_from([0.0, 1.0, 2.5, 60.0]), bytes=st.integers(0, 3)), max_size=8
)


@given(FAMILIES)
def test_what_nobody_has_timed_comes_first_by_size_then_the_longest(families: list[Family]) -> None:
    """One that nobody has timed may be the longest of all."""
    queue, pool = Queue([*families]), Few(room=100)
    taken = list(queue.take(pool))
    assert taken == pool.started
    assert not queue
    unknown = [family for family in taken if family.estimate == 0]
    known = [family for family in taken if family.estimate > 0]
    assert taken == unknown + known
    assert [family.bytes for family in unknown] == sorted((family.bytes for family in unknown), reverse=True)
    assert [family.estimate for family in known] == sorted((family.estimate for family in known), reverse=True)
    assert sorted(map(id, taken)) == sorted(map(id, families))


def test_a_pool_takes_what_it_has_room_for_and_the_rest_stays_in_order() -> None:
    families = [Family((work(f"j{n}"),), Needs(cpus=4.0 if n == 0 else 1.0), estimate=10.0 - n) for n in range(4)]
    queue, pool = Queue([*families]), Few(room=1)
    assert list(queue.take(pool)) == [families[1]], "the first is too large for this pool, and stops nobody else"
    assert list(queue.take(pool)) == []
    assert queue.families == [families[0], *families[2:]]
    pool.room, pool.cpus = 3, 4.0
    assert list(queue.take(pool)) == [families[0], families[2]]
    assert queue.families == families[3:]


def test_a_family_that_comes_again_is_next() -> None:
    long, short = Family((work("long"),), estimate=9.0), Family((work("short"),), estimate=1.0)
    queue = Queue([long])
    queue.again(short)
    assert list(queue.take(Few(room=1))) == [short]
    assert queue


def test_what_is_left_of_a_family_keeps_its_needs() -> None:
    family = Family((work("a"), work("b"), work("c")), Needs(cpus=2.0), estimate=9.0, bytes=5)
    assert [each.job for each in family.without(2).works] == ["c"]
    assert family.without(1).needs == family.needs
    assert family.without(3).works == ()


@pytest.mark.parametrize("ending", Ending)
def test_an_ending_is_good_or_may_pass_or_is_neither(ending: Ending) -> None:
    assert ending.is_good == (ending in {Ending.MADE, Ending.CACHED})
    assert ending.may_pass == (ending in {Ending.CRASHED, Ending.LOST})
