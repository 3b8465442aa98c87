from __future__ import annotations

import pytest

from artifacts.decode_inputs import DecodeInputs
from artifacts.dtype import DType
from artifacts.schedule import CacheSlot, Decode, Generation, Host
from artifacts.spec import Dim, Signature
from tests.support.bundles import spec

SOURCE = Signature(inputs=(spec("x", DType.FLOAT32, "rows", 4), spec("tokens", DType.INT64, "rows", "t")), outputs=())


def inputs(
    memory: tuple[Dim, ...], past: tuple[Dim, ...], tokens: Dim = "rows", source: Signature = SOURCE
) -> DecodeInputs:
    schedule = Decode(
        encoder="encoder",
        step="step",
        tokens="tokens",
        logits="logits",
        state="cached",
        control=Host(),
        slots=(CacheSlot(input="past", output="present", axis=2, batch_axis=1, init="empty"),),
        generation=Generation(start=1, eos=(2,), pad=0, max_new_tokens=4),
    )
    given = spec("memory", DType.FLOAT32, *memory)
    step = Signature(
        inputs=(spec("tokens", DType.INT64, tokens, 1), given, spec("past", DType.FLOAT32, *past)),
        outputs=(spec("logits", DType.FLOAT32, tokens, 1, 9), spec("present", DType.FLOAT32, *past)),
    )
    encoder = Signature(inputs=source.inputs[:1], outputs=(given,))
    return DecodeInputs(schedule, {"encoder": encoder, "step": step}, source)


def test_the_axis_that_counts_rows_is_that_of_the_tokens_symbol() -> None:
    found = inputs((8, "rows", "s"), (8, "rows", "p"))
    assert found.row_axes == {"memory": 1}
    assert found.can_drop_rows
    assert inputs((8, "s"), (8, "rows", "p")).row_axes == {}, "the same for all rows"


@pytest.mark.parametrize(
    ("memory", "past"),
    [
        (("8*rows", "s"), (8, "rows", "p")),
        (("rows", "rows"), (8, "rows", "p")),
        (("rows", "s"), ("rows", 8, "p")),
        (("rows", "s"), (8, "rows", "p + rows")),
        (("rows", "s"), (8, 1, "p")),
    ],
)
def test_rows_stay_where_another_size_depends_on_their_number(memory: tuple[Dim, ...], past: tuple[Dim, ...]) -> None:
    assert not inputs(memory, past).can_drop_rows


def test_a_symbol_that_has_another_one_in_its_name_is_another() -> None:
    assert inputs(("rows", "narrows_2", "rows2"), (8, "rows", "p")).can_drop_rows


def test_a_number_of_rows_that_is_fixed_or_guessed_stays() -> None:
    fixed = inputs((2, "s"), (8, 2, "p"), tokens=2)
    assert fixed.row_axes is None
    assert not fixed.can_drop_rows
    guessed = Signature(inputs=(spec("x", DType.FLOAT32, "n", 4),), outputs=())
    assert not inputs(("n", "s"), (8, "rows", "p"), source=guessed).can_drop_rows
