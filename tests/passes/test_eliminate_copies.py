"""What golden texts do not show of copies that are eliminated: any chain of them gives the same bits."""

from __future__ import annotations

import itertools

import pytest
import sympy
import torch
from hypothesis import given, settings

from passes.eliminate_copies import EliminateCopies
from passes.interpreter import run_function
from passes.movement import moved
from passes.program import Program
from passes.redundant_casts import is_exact
from tests.support.copy_cases import viewed_copies
from tests.support.programs import normal, traced
from tests.support.strategies.movements import moving_programs

SIZES = ((3, 2, 5), (4, 4, 4), (1, 1, 1))
"""n, k and m: those of the recording, equal ones, and ones."""


@settings(max_examples=30, deadline=None)
@given(moving_programs())
def test_any_chain_gives_the_same_bits_and_moves_no_more(program: Program) -> None:
    result = EliminateCopies()(program)
    before, after = program.functions["main"], result.program.functions["main"]
    for n, k, m in SIZES:
        inputs = [torch.from_numpy(normal(size, 8, m, seed=i)) for i, size in enumerate((n, k))]
        expected = run_function(before, program.weights, inputs)
        for value, wanted in zip(run_function(after, program.weights, inputs), expected, strict=True):
            assert value.dtype == wanted.dtype
            assert value.shape == wanted.shape
            assert _bits(value).equal(_bits(wanted))
        figures = [moved(function) for function in (before, after)]
        sizes = dict(zip(map(sympy.Symbol, "nkm"), (n, k, m), strict=True))
        assert figures[1].operators <= figures[0].operators
        assert figures[1].bytes.subs(sizes) <= figures[0].bytes.subs(sizes)
    assert not EliminateCopies()(result.program).modified


def _bits(value: torch.Tensor) -> torch.Tensor:
    return torch.empty(value.numel(), dtype=value.dtype).copy_(value.reshape(-1)).view(torch.uint8)


def test_without_a_copy_what_viewed_it_still_runs() -> None:
    x = torch.from_numpy(normal(2, 3, 4))
    result = EliminateCopies()(traced(viewed_copies, x))
    assert result.modified
    (found,) = run_function(result.program.functions["main"], result.program.weights, [x])
    assert found.equal(viewed_copies(x))


INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@pytest.mark.parametrize("narrow", [torch.bool, *INTEGERS, *FLOATS], ids=str)
def test_a_type_that_holds_all_values_of_another_gives_its_ends_back(narrow: torch.dtype) -> None:
    """The ends of a range, and the numbers next to them, are what a type with too few bits rounds first."""
    for wide in (torch.bool, *INTEGERS, *FLOATS):
        if not is_exact(narrow, wide):
            continue
        values = _ends(narrow)
        assert values.to(wide).to(narrow).equal(values), wide
        assert torch.equal(values.to(wide).double(), values.double()), wide


def test_all_pairs_of_types_are_decided_as_their_bits_say() -> None:
    def bits(dtype: torch.dtype) -> tuple[int, int, int]:
        """Bits of a sign, of a fraction with the bit before it, and of an exponent."""
        if dtype is torch.bool:
            return 0, 1, 0
        if dtype.is_floating_point:
            return {
                torch.float16: (1, 11, 5),
                torch.bfloat16: (1, 8, 8),
                torch.float32: (1, 24, 8),
                torch.float64: (1, 53, 11),
            }[dtype]
        info = torch.iinfo(dtype)
        return int(info.min < 0), info.bits - (info.min < 0), 0

    for narrow, wide in itertools.permutations((torch.bool, *INTEGERS, *FLOATS), 2):
        kept = all(has <= gets for has, gets in zip(bits(narrow), bits(wide), strict=True))
        assert is_exact(narrow, wide) == kept, (narrow, wide)


def _ends(dtype: torch.dtype) -> torch.Tensor:
    if dtype is torch.bool:
        return torch.tensor([False, True])
    if dtype.is_floating_point:
        info = torch.finfo(dtype)
        return torch.tensor([info.min, info.max, info.tiny, info.smallest_normal, 1 + info.eps], dtype=dtype)
    whole = torch.iinfo(dtype)
    return torch.tensor([whole.min, whole.min + 1, whole.max - 1, whole.max], dtype=dtype)
