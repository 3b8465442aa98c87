from __future__ import annotations

import pytest
import torch

from passes.onnx_to_torch.movement import index_select, moved

FLOAT8 = [torch.float8_e4m3fn, torch.float8_e4m3fnuz, torch.float8_e5m2, torch.float8_e5m2fnuz, torch.float8_e8m0fnu]


@pytest.mark.parametrize("dtype", FLOAT8)
def test_every_float8_comes_back(dtype: torch.dtype) -> None:
    codes = torch.arange(256).to(torch.uint8)
    numbers = codes[~codes.view(dtype).to(torch.float32).isnan()]
    there = moved(lambda carried: carried.flip(0), numbers.view(dtype))
    assert there.dtype == dtype
    assert there.view(torch.uint8).tolist() == numbers.flip(0).tolist()


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.uint64])
def test_unsigned_integers_come_back(dtype: torch.dtype) -> None:
    limit = torch.iinfo(dtype).max
    values = torch.tensor([0, 1, limit // 2, limit // 2 + 1, limit], dtype=dtype)
    assert moved(lambda carried: carried.flip(0), values).tolist() == values.tolist()[::-1]
    assert index_select(values, 0, torch.tensor([4, 0])).tolist() == [limit, 0]


def test_types_that_torch_has_kernels_for_stay_what_they_are() -> None:
    seen: list[torch.dtype] = []

    def look(operand: torch.Tensor) -> torch.Tensor:
        seen.append(operand.dtype)
        return operand

    for dtype in (torch.bool, torch.float32, torch.bfloat16, torch.int64, torch.uint8):
        moved(look, torch.zeros(1, dtype=dtype))
    assert seen == [torch.bool, torch.float32, torch.bfloat16, torch.int64, torch.uint8]
