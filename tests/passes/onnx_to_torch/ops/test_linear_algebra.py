from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.onnx_ops import FEW, Array, check_op, run_op, sample


@pytest.mark.parametrize("since", [1, 9, 13])
@pytest.mark.parametrize(
    ("a", "b"),
    [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((2, 3), (3, 4)), ((5, 1, 2, 3), (4, 3, 2)), ((5, 2, 3), (3, 4))],
)
def test_matmul_broadcasts(since: int, a: tuple[int, ...], b: tuple[int, ...]) -> None:
    check_op("MatMul", [sample(a), sample(b, seed=1)], since)


@pytest.mark.parametrize("since", [9, 13])
@pytest.mark.parametrize("dtype", ["int32", "int64", "uint32", "uint64", "float64"])
def test_matmul_of_other_element_types(since: int, dtype: str) -> None:
    check_op("MatMul", [sample((2, 3), dtype), sample((3, 4), dtype, seed=1)], since)


def test_matmul_exports_with_symbolic_sizes() -> None:
    def inputs(batch: int, rows: int) -> list[Array]:
        return [sample((batch, rows, 3)), sample((batch, 3, rows), seed=1)]

    check_op("MatMul", inputs(2, 4), 13, symbolic=inputs(3, 7))


@pytest.mark.parametrize("since", [7, 9, 11, 13])
@FEW
@given(
    trans_a=st.integers(0, 1),
    trans_b=st.integers(0, 1),
    alpha=st.sampled_from([1.0, 0.5]),
    beta=st.sampled_from([1.0, 0.0, 2.5]),
    bias=st.sampled_from([(), (1,), (4,), (1, 4), (2, 1), (2, 4)]),
)
def test_gemm(since: int, trans_a: int, trans_b: int, alpha: float, beta: float, bias: tuple[int, ...]) -> None:
    a, b = sample((3, 2) if trans_a else (2, 3)), sample((4, 3) if trans_b else (3, 4), seed=1)
    attributes = {"transA": trans_a, "transB": trans_b, "alpha": alpha, "beta": beta}
    check_op("Gemm", [a, b, sample(bias, seed=2)], since, attributes=attributes)
    if since >= 11:
        check_op("Gemm", [a, b], since, attributes=attributes)


@pytest.mark.parametrize("since", [1, 6])
def test_until_version_6_gemm_broadcasts_on_request(since: int) -> None:
    a, b, c = sample((2, 3)), sample((3, 4), seed=1), sample((4,), seed=2)
    check_op("Gemm", [a, b, c], since, attributes={"broadcast": 1}, expected=[a @ b + c])
    whole = sample((2, 4), seed=2)
    check_op("Gemm", [a, b, whole], since, attributes={"beta": 0.5}, expected=[a @ b + 0.5 * whole])


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint32", "uint64"])
def test_gemm_on_integers(dtype: str) -> None:
    a, b, c = (sample(shape, dtype, seed=i) for i, shape in enumerate([(2, 3), (4, 3), (4,)]))
    attributes = {"alpha": 2.0, "beta": 3.0, "transB": 1}
    check_op("Gemm", [a, b, c], 13, attributes=attributes, expected=[2 * (a @ b.T) + 3 * c])


def test_gemm_exports_with_a_symbolic_batch() -> None:
    weight, bias = sample((4, 3), seed=1), sample((4,), seed=2)
    inputs = [[sample((rows, 3)), weight, bias] for rows in (2, 5)]
    check_op("Gemm", inputs[0], 13, attributes={"transB": 1}, symbolic=inputs[1], constants={1, 2})


@pytest.mark.parametrize("since", [12, 28])
@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)]),
        ("ij->ji", [(3, 4)]),
        ("ij->i", [(3, 4)]),
        ("ii->i", [(3, 3)]),
        ("...ii->...i", [(2, 3, 3)]),
        ("i,i", [(3,), (3,)]),
        ("bi,bi", [(2, 3), (2, 3)]),
        ("Bi, Bj -> Bij", [(2, 3), (2, 4)]),
        ("...ij,...jk", [(5, 2, 3), (5, 3, 4)]),
        (",->", [(), ()]),
        ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)]),
    ],
)
def test_einsum(since: int, equation: str, shapes: list[tuple[int, ...]]) -> None:
    arrays = [sample(shape, seed=i) for i, shape in enumerate(shapes)]
    check_op("Einsum", arrays, since, attributes={"equation": equation})


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
