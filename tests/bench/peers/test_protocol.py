from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.bench.peers.protocol import Answer, Greeting, Order

_counts = st.integers(0, 1 << 40)
_seconds = st.floats(0, 1e6)


@given(st.builds(Order, _counts, _counts))
def test_an_order_is_read_as_it_was_sent(order: Order) -> None:
    assert Order.of(_sent(order.line())) == order


@given(st.builds(Answer, _seconds, st.lists(st.lists(_counts).map(tuple)).map(tuple)))
def test_an_answer_is_read_as_it_was_sent(answer: Answer) -> None:
    assert Answer.of(_sent(answer.line())) == answer


@given(st.builds(Greeting, st.dictionaries(st.text(), st.text())))
def test_a_greeting_is_read_as_it_was_sent(greeting: Greeting) -> None:
    assert Greeting.of(_sent(greeting.line())) == greeting


def _sent(line: str) -> str:
    """As the other side gets it. An order or answer is one line, whatever is in it."""
    assert len(line.splitlines()) == 1
    return f"{line}\n"
