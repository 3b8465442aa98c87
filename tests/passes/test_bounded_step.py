"""What a step with a cache of one length computes of the rows that are there, and of no others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from artifacts.dtype import DType
from artifacts.spec import Signature, TensorSpec
from passes.bounded_places import NoBoundError
from passes.bounded_step import bounded_step
from passes.interpreter import call
from passes.onnx_to_torch.convert import export_module, to_function
from passes.program import Program
from tests.support.programs import normal

ROWS, WIDTH = 7, 4
Of = Callable[[Tensor], Tensor]

SIGNATURE = Signature(
    inputs=(
        TensorSpec(name="x", dtype=DType.FLOAT32, shape=("batch", 1, WIDTH)),
        TensorSpec(name="past", dtype=DType.FLOAT32, shape=("batch", "before", WIDTH)),
    ),
    outputs=(
        TensorSpec(name="y", dtype=DType.FLOAT32, shape=("batch", "n")),
        TensorSpec(name="present", dtype=DType.FLOAT32, shape=("batch", "before + 1", WIDTH)),
    ),
)


class Step(nn.Module):
    """Appends a row, and computes something of all of them."""

    def __init__(self, of: Of) -> None:
        super().__init__()
        self.of = of

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        x, past = inputs
        present = torch.cat([past, x], 1)
        return self.of(present).reshape(x.shape[0], -1), present


def attention(rows: Tensor, mask: Tensor | None = None) -> Tensor:
    query = rows[:, -1:].unsqueeze(1)
    keys = rows.unsqueeze(1)
    return torch.nn.functional.scaled_dot_product_attention(query, keys, keys.exp(), attn_mask=mask)


def distances(rows: Tensor) -> Tensor:
    count = rows.shape[1]
    return (count - 1 - torch.arange(count)).to(torch.float32)


OF_ROWS: dict[str, Of] = {
    "sum": lambda rows: rows.exp().sum(1),
    "mean": lambda rows: rows.exp().mean(1),
    "mean of all": lambda rows: rows.exp().mean((1, 2)),
    "largest": lambda rows: (-rows.exp()).amax(1),
    "smallest": lambda rows: rows.exp().amin(1),
    "place of the largest": lambda rows: (-rows.exp()).argmax(1).to(torch.float32),
    "place of the smallest": lambda rows: rows.exp().argmin(1).to(torch.float32),
    "logsumexp": lambda rows: rows.logsumexp(1),
    "log-softmax of the last": lambda rows: rows.log_softmax(1)[:, -1],
    "product": lambda rows: rows.transpose(1, 2) @ rows.exp(),
    "sum so far": lambda rows: rows.cumsum(1)[:, -1],
    "last row": lambda rows: rows.select(1, -1),
    "attention": attention,
    "attention where": lambda rows: attention(rows, distances(rows).unsqueeze(0) < 3),
    "attention with a bias": lambda rows: attention(rows, distances(rows).unsqueeze(0) * -0.5),
    "distance": lambda rows: (rows * distances(rows).unsqueeze(1)).sum(1),
    "how many": lambda rows: rows[:, -1] * rows.shape[1],
    "every other number of a row": lambda rows: rows[:, :, 1::2].sum(1),
    "heads": lambda rows: rows.reshape(rows.shape[0], rows.shape[1], 2, 2).transpose(1, 2).sum(2),
    "triangle": lambda rows: torch.tril(torch.ones(rows.shape[1], rows.shape[1]))[-1] @ rows.exp(),
}


def program_of(of: Of) -> Program:
    example = {"x": normal(2, 1, WIDTH), "past": normal(2, 3, WIDTH)}
    body = export_module(Step(of), SIGNATURE, example, "step")
    converted = to_function("step", body, SIGNATURE, {})
    return Program({"step": converted.function}, {}, converted.weights)


@pytest.mark.parametrize("name", OF_ROWS)
def test_rows_that_are_not_there_count_for_nothing(name: str) -> None:
    program = program_of(OF_ROWS[name])
    function = bounded_step(program.functions["step"], {"past": 1}, "at", ROWS)
    other = program.with_functions({"step": function})
    grown: Any = np.zeros((2, 0, WIDTH), np.float32)
    room: Any = np.zeros((2, ROWS, WIDTH), np.float32)
    for position in range(ROWS):
        x = normal(2, 1, WIDTH, seed=position)
        if position == 0:
            grown, room[:, :1] = x, x  # torch's own step wants a row before the first that it is asked for
            continue
        expected: Any = call(program, "step", {"x": x, "past": grown})
        found: Any = call(other, "step", {"x": x, "past": room, "at": np.asarray(position)})
        np.testing.assert_allclose(found["y"], expected["y"], rtol=1e-5, atol=1e-6)
        grown, room = expected["present"], found["present"]
        np.testing.assert_array_equal(room[:, : position + 1], grown)
        assert not room[:, position + 1 :].any()


REFUSED: dict[str, Of] = {
    "product of rows": lambda rows: rows.prod(1),
    "turned round": lambda rows: rows.flip(1),
    "every other row": lambda rows: rows[:, ::2].sum(1),
    "rows twice": lambda rows: torch.cat([rows, rows], 1).sum(1),
    "largest whole number": lambda rows: rows.to(torch.int64).amax(1).to(torch.float32),
    "one after the other": lambda rows: rows.reshape(rows.shape[0], -1).softmax(1)[:, -4:],
    "size squared": lambda rows: rows[:, -1] * (rows.shape[1] * rows.shape[1]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_rule_is_for_is_told(name: str) -> None:
    with pytest.raises(NoBoundError):
        bounded_step(program_of(REFUSED[name]).functions["step"], {"past": 1}, "at", ROWS)
