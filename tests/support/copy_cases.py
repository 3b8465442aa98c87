"""Programs with copies to eliminate, each with what comes close and stays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from passes.program import Program
from tests.support.programs import Array, bare, normal, parsed, traced


def _of(text: str, **weights: Array) -> Callable[[], Program]:
    """A model whose inputs are float32 [n, 4, m], or [k, 4, m] if there are more; all are [3, 4, 3] in the sample."""
    constants = {name: np.array(value) for name, value in _INTEGERS.items() if name in text}
    model = parsed(text, **weights, **constants)
    return lambda: bare(model, {value.name: normal(3, 4, 3, seed=i) for i, value in enumerate(model.graph.input)})


_INTEGERS: Mapping[str, Any] = {
    "zero": [0],
    "one": [1],
    "two": [2],
    "three": [3],
    "four": [4],
    "six": [6],
    "eight": [8],
    "minus": [-1],
    "far": [2**62],
    "rows": [-1, 4],
    "halves": [2, 2],
    "uneven": [3, 5],
    "index": [1, 0],
}


def _traced(function: Callable[..., Any], *shapes: tuple[int, ...]) -> Callable[[], Program]:
    return lambda: traced(function, *(torch.ones(shape) for shape in shapes))


def viewed_copies(x: torch.Tensor) -> torch.Tensor:
    """A view of a sum that can be viewed because a copy put its operand in order."""
    return (x.permute(2, 0, 1).contiguous() + 1).view(8, 3)


def _casts(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    whole = x.to(torch.int32)
    return x.double().float(), whole.long().int(), x.half().float(), whole.to(torch.int16).to(torch.int8), x.float()


def _near_casts(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    whole = x.to(torch.int64)
    return x.half().float(), x.bfloat16().half(), whole.float().long(), whole.to(torch.int32).long()


def _pieces(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, ...]:
    one, other = torch.split(torch.cat([a, b], 1), [4, 2], 1)
    rows = torch.stack([a, a + 1])
    return one + 1, other + 1, rows[0] + 1, rows.unbind(0)[1] + 2, torch.cat([a, b, a], 1)[:, 4:10] + 1


def _near_pieces(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, ...]:
    whole = torch.cat([a, b], 1)
    one, other = torch.split(whole, [3, 3], 1)
    return one + 1, other + 1, whole[:, 3:5] + 1, torch.cat([a, a], 0)[:, :2] + 1


def _parts(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    a, b, c = torch.split(x, [1, 2, 3], 1)
    return torch.cat([a, b, c], 1) + 1, torch.cat([x[:, :2], x[:, 2:]], 1) + 2, torch.cat([torch.cat([b, a], 1), c], 1)


def _near_parts(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    a, b, c = torch.split(x, [2, 2, 2], 1)
    return torch.cat([b, a, c], 1), torch.cat([a, b, c], 0), torch.cat([a, b], 1), torch.cat([x[:, :3], x[:, 2:]], 1)


def _slices(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return x[:, 1:][:, 1:3] + 1, x[:, :5][:, 2:] + 1, x[:, 1:-1][:, 2:] + 1, x[:][:, :] + 1


def _near_slices(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return x[:, 1:][:, :-1] + 1, x[:, ::2][:, 1:] + 1, x[1:][:, 1:] + 1, x[:, -3:][:, 1:] + 1


def _expansions(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
    index = torch.arange(3).expand(4, 3)
    return (
        x.expand(3, 4) + y,
        x.expand(1, 4).expand(3, 4) * 2,
        y.expand(3, -1) + 1,
        y[index] + torch.cat([y, y[:1]]).unsqueeze(1),
    )


def _near_expansions(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
    number = x.sum().double().expand(3, 4)
    return x.expand(3, 4) + 1, x.expand(3, 4) @ y.T, y + number


def _units(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """x is [2, 1, 3, 4]."""
    return x.permute(0, 2, 1, 3) + 1, x.reshape(2, 3, 4).unsqueeze(1).permute(0, 2, 1, 3).reshape(6, 4) + 2


_BRANCH = """
    g (float[n, 4, m] x) => (float[n, 4, m] y) {
        least = ReduceMin <keepdims = 0> (x)
        positive = Cast <to = 9> (least)
        y = If (positive) <
            then_branch = t () => (float[n, 4, m] a) {
                a1 = Transpose <perm = [0, 2, 1]> (x)
                a2 = Transpose <perm = [0, 2, 1]> (a1)
                a3 = Tanh (a2)
                a4 = Transpose <perm = [0, 2, 1]> (a3)
                a = Transpose <perm = [0, 2, 1]> (a4)
            },
            else_branch = e () => (float[n, 4, m] b) {
                b1 = Transpose <perm = [0, 2, 1]> (x)
                b = Transpose <perm = [0, 2, 1]> (b1)
            }
        >
    }
"""

COPIES: Mapping[str, Callable[[], Program]] = {
    "nothing_to_do": _of("g (float[n, 4, m] x) => (float[n, 4, m] y) { y = Relu (x) }"),
    "turns_that_cancel": _of(
        """g (float[n, 4, m] x) => (float[n, 4, m] y, float[m, n, 4] z) {
            a = Transpose <perm = [2, 0, 1]> (x)
            b = Transpose <perm = [1, 2, 0]> (a)
            y = Tanh (b)
            c = Transpose <perm = [1, 0, 2]> (x)
            d = Transpose <perm = [2, 1, 0]> (c)
            z = Tanh (d)
        }"""
    ),
    "turns_that_meet": _of(
        """g (float[n, 4, m] x, float[n, 4, m] r) => (float[n, 4, m] y) {
            a = Transpose <perm = [2, 0, 1]> (x)
            b = Transpose <perm = [2, 0, 1]> (r)
            c = Mul (a, half)
            d = Add (c, b)
            e = Relu (d)
            y = Transpose <perm = [1, 2, 0]> (e)
        }""",
        half=np.array(0.5, np.float32),
    ),
    "two_turns_before_a_sum_are_one_behind": _of(
        """g (float[n, 4, m] x, float[n, 4, m] r) => (float[n, m, 4] y) {
            a = Transpose <perm = [0, 2, 1]> (x)
            b = Transpose <perm = [0, 2, 1]> (r)
            c = Sub (a, b)
            y = Tanh (c)
        }"""
    ),
    "turns_that_do_not_meet_stay": _of(
        """g (float[n, 4, m] x) => (float[n, m, 4] y, float[n, 4, m] z, float[4, m, n] u, float[n, 4, m] v) {
            a = Transpose <perm = [0, 2, 1]> (x)
            b = Add (a, row)
            y = Add (b, row)
            c = Sigmoid (a)
            z = Transpose <perm = [0, 2, 1]> (c)
            d = Transpose <perm = [2, 0, 1]> (x)
            e = Relu (d)
            u = Transpose <perm = [2, 0, 1]> (e)
            f = Add (e, e)
            g = Exp (f)
            v = Transpose <perm = [1, 2, 0]> (g)
        }""",
        row=normal(4),
    ),
    "turns_of_one_row_are_views": _traced(_units, (2, 1, 3, 4)),
    "views_of_what_was_copied_are_reshapes": _traced(viewed_copies, (2, 3, 4)),
    "casts_that_lose_nothing": _traced(_casts, (2, 3)),
    "casts_that_round_stay": _traced(_near_casts, (2, 3)),
    "expansions_that_are_repeated_anyway": _traced(_expansions, (1, 4), (3, 4)),
    "expansions_that_something_needs_stay": _traced(_near_expansions, (1, 4), (3, 4)),
    "pieces_of_what_was_joined": _traced(_pieces, (2, 4), (2, 2)),
    "other_pieces_stay": _traced(_near_pieces, (2, 4), (2, 2)),
    "joined_pieces": _traced(_parts, (2, 6)),
    "pieces_joined_in_another_way_stay": _traced(_near_parts, (6, 6)),
    "slices_of_slices": _traced(_slices, (6, 6)),
    "slices_with_other_bounds_stay": _traced(_near_slices, (6, 6)),
    "views_of_views": _of(
        """g (float[n, 4, m] x) => (float[a, 4] y, float[n, 4, m] z, float[1, 1, b, 1] u) {
            flat = Reshape (x, minus)
            r = Reshape (flat, rows)
            y = Tanh (r)
            p = Unsqueeze (x, one)
            q = Squeeze (p, one)
            z = Tanh (q)
            s = ReduceSum <keepdims = 0> (flat, zero)
            s1 = Unsqueeze (flat, zero)
            s2 = Unsqueeze (s1, zero)
            s3 = Unsqueeze (s2, three)
            u = Tanh (s3)
        }"""
    ),
    "sizes_that_are_symbols": _of(
        """g (float[n, 4, m] x, float[k, 4, m] r) => (float[n, 4, m] y, float[i, 4, m] z) {
            both = Concat <axis = 0> (x, r)
            n = Shape <start = 0, end = 1> (x)
            a = Slice (both, zero, n, zero)
            y = Tanh (a)
            k = Shape <start = 0, end = 1> (r)
            b = Slice (both, zero, k, zero)
            z = Tanh (b)
        }"""
    ),
    "branches": _of(_BRANCH),
}
