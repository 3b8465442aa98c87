from __future__ import annotations

import pytest
import torch
from torch.export import Dim

from passes import dialect


@pytest.mark.parametrize("shape", [(), (2, 3), (0, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.bool])
def test_the_tensor_itself_where_the_condition_holds(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = torch.ones(shape, dtype=dtype)
    torch.testing.assert_close(dialect.REQUIRE(x, 1, "it"), x)


def test_an_error_that_says_what_does_not_hold() -> None:
    with pytest.raises(RuntimeError, match="one frame: does not hold"):
        dialect.REQUIRE(torch.ones(2), 0, "one frame")


def test_schema_and_fake_kernel_agree_with_the_kernel() -> None:
    torch.library.opcheck(dialect.REQUIRE, (torch.ones(2, 3), 1, "it"), test_utils=("test_schema", "test_faketensor"))


class Even(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return dialect.REQUIRE(x, 1 - x.shape[0] % 2, "an even number of rows")


def test_the_condition_is_left_to_run_time() -> None:
    program = torch.export.export(Even(), (torch.ones(3, 2),), dynamic_shapes=({0: Dim.AUTO},), strict=False).module()
    torch.testing.assert_close(program(torch.ones(4, 2)), torch.ones(4, 2))
    with pytest.raises(RuntimeError, match="an even number of rows"):
        program(torch.ones(5, 2))
