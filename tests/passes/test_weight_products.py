from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from passes.program import Program
from passes.weight_products import WeightProduct, weight_product
from tests.support.programs import bare, normal, parsed

FORMS: Mapping[str, tuple[str, tuple[int, int]]] = {
    "matmul": ("y = MatMul (x, w)", (6, 5)),
    "a matrix that is turned": ("t = Transpose <perm = [1, 0]> (w) y = MatMul (x, t)", (5, 6)),
    "linear": ("y = Gemm <transB = 1> (x, w, b)", (5, 6)),
    "product and sum": ("y = Gemm (x, w, b)", (6, 5)),
}


def product_of(program: Program) -> WeightProduct | None:
    (function,) = program.functions.values()
    found = [weight_product(node, function) for node in function.computations]
    return next((product for product in found if product is not None), None)


@pytest.mark.parametrize("form", FORMS)
def test_a_product_with_weights_is_seen_in_every_form(form: str) -> None:
    text, shape = FORMS[form]
    weights = {"w": normal(*shape)} | ({"b": normal(5)} if "b)" in text else {})
    program = bare(parsed(f"g (float[n, 6] x) => (float[n, 5] y) {{ {text} }}", **weights), {"x": normal(3, 6)})
    product = product_of(program)
    assert product is not None
    (function,) = program.functions.values()
    assert product.operand is function.input_nodes[0]
    assert (product.rows, product.size) == (5, 6)
    assert (product.bias is None) == ("b)" not in text)
    matrix = program.weights.array(product.matrix)
    np.testing.assert_array_equal(matrix, weights["w"])
    assert matrix.shape == ((5, 6) if product.is_turned else (6, 5))


@pytest.mark.parametrize("text", ["y = MatMul (x, x)", "y = MatMul (w, x)", "y = Mul (x, w)"])
def test_other_products_are_none(text: str) -> None:
    program = bare(parsed(f"g (float[6, 6] x) => (float[6, 6] y) {{ {text} }}", w=normal(6, 6)), {"x": normal(6, 6)})
    assert product_of(program) is None
