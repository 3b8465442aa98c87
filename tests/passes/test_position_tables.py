from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.weights import WeightStore
from passes.position_tables import PositionTable, stored, table_of

COUNT = 5

LONGEST = torch.arange(2.0 * (COUNT + 1)).reshape(2, COUNT + 1)


def test_values_of_one_size_are_rows() -> None:
    rows = [torch.full((1, 3), float(position)) for position in range(COUNT)]
    table = table_of(rows)
    assert table is not None
    assert (table.grows, tuple(table.tensor.shape)) == (None, (COUNT, 1, 3))


@given(st.integers(0, 2), st.booleans())
@settings(deadline=None)
def test_values_that_lengthen_or_shift_are_parts_of_the_last(grows: int, shifts: bool) -> None:
    longest = torch.arange(2.0 * (COUNT - 1 + grows)).reshape(2, -1)
    sizes = [position + grows for position in range(COUNT)]
    rows = [longest[:, longest.shape[1] - size :] if shifts else longest[:, :size] for size in sizes]
    table = table_of(rows)
    assert table is not None
    assert (table.axis, table.grows, table.shifts) == (1, grows, shifts)
    assert torch.equal(table.tensor, longest)


def test_values_that_change_otherwise_have_no_table() -> None:
    changing = [LONGEST[:, : position + 1] + position for position in range(COUNT)]
    doubling = [LONGEST[:, : 2 * position] for position in range(3)]
    square = [torch.zeros(position + 1, position + 1) for position in range(COUNT)]
    for rows in (changing, doubling, square):
        assert table_of(rows) is None


def test_a_table_is_a_view_of_the_weight_whose_rows_it_is() -> None:
    weight = np.random.default_rng(0).standard_normal((9, 4)).astype(np.float32)
    store, ref = WeightStore().with_tensor(weight)
    table = PositionTable(torch.from_numpy(weight[2:7].reshape(5, 1, 4)))
    found = stored(table, [ref], store, limit=0)
    assert found is not None
    after, rows = found
    assert after is store
    assert (rows.digest, rows.offset, rows.shape) == (ref.digest, 2 * 16, (5, 1, 4))


def test_other_tables_are_contents_of_their_own_up_to_the_limit() -> None:
    weight = np.zeros((9, 4), np.float32)
    store, ref = WeightStore().with_tensor(weight)
    table = PositionTable(torch.arange(20.0).reshape(5, 4))
    assert stored(table, [ref], store, limit=79) is None
    found = stored(table, [ref], store, limit=80)
    assert found is not None
    assert found[1].digest != ref.digest
