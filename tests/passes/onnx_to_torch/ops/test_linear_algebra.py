from __future__ import annotations

import numpy as np
import pytest

from tests.support.onnx_ops import Array, check_op, run_op, sample


def test_matmul_exports_with_symbolic_sizes() -> None:
    def inputs(batch: int, rows: int) -> list[Array]:
        return [sample((batch, rows, 3)), sample((batch, 3, rows), seed=1)]

    check_op("MatMul", inputs(2, 4), 13, symbolic=inputs(3, 7))


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint32", "uint64"])
def test_gemm_on_integers(dtype: str) -> None:
    a, b, c = (sample(shape, dtype, seed=i) for i, shape in enumerate([(2, 3), (4, 3), (4,)]))
    attributes = {"alpha": 2.0, "beta": 3.0, "transB": 1}
    check_op("Gemm", [a, b, c], 13, attributes=attributes, expected=[2 * (a @ b.T) + 3 * c])


def test_gemm_exports_with_a_symbolic_batch() -> None:
    weight, bias = sample((4, 3), seed=1), sample((4,), seed=2)
    inputs = [[sample((rows, 3)), weight, bias] for rows in (2, 5)]
    check_op("Gemm", inputs[0], 13, attributes={"transB": 1}, symbolic=inputs[1], constants={1, 2})


@pytest.mark.parametrize("dtype", ["int32", "uint16", "uint64"])
def test_einsum_on_integers(dtype: str) -> None:
    arrays = [sample((2, 3), dtype), sample((3, 2), dtype, seed=1)]
    check_op("Einsum", arrays, 12, attributes={"equation": "ij,jk->ik"}, expected=[arrays[0] @ arrays[1]])


def test_einsum_exports_with_symbolic_sizes() -> None:
    def inputs(batch: int, rows: int) -> list[Array]:
        return [sample((batch, rows, 4)), sample((batch, rows, 4), seed=1)]

    check_op("Einsum", inputs(2, 3), 12, attributes={"equation": "bij,bkj->bik"}, symbolic=inputs(5, 7))


@pytest.mark.parametrize("since", [11, 22])
@pytest.mark.parametrize("shape", [(3, 3), (2, 3, 3), (2, 4, 1, 1)])
def test_determinant(since: int, shape: tuple[int, ...]) -> None:
    check_op("Det", [sample(shape)], since, tolerance=1e-4)


def test_determinant_in_half_precision() -> None:
    data = np.array([[1, 2], [3, 4]], np.float16)
    np.testing.assert_allclose(run_op("Det", [data], 22)[0], np.float16(-2), rtol=1e-2)
