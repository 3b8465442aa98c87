from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts.errors import UnsupportedError
from tests.support.onnx_ops import FEW, Arrays, check_op, run_op, sample

DOMAIN = "ai.onnx.ml"


def check(name: str, inputs: Arrays, since: int = 1, **attributes: Any) -> None:
    check_op(name, inputs, since, attributes=attributes, domain=DOMAIN)


@FEW
@given(rank=st.integers(1, 3), columns=st.lists(st.integers(0, 3), min_size=1, max_size=5))
def test_columns_are_extracted(rank: int, columns: list[int]) -> None:
    check("ArrayFeatureExtractor", [sample((2, 3, 4)[3 - rank :]), np.array(columns, np.int64)])


def test_scaling() -> None:
    data = sample((3, 4))
    check("Scaler", [data], offset=[1.0, 2.0, 0.0, -1.0], scale=[0.5, 1.0, 2.0, 3.0])
    check("Scaler", [data], offset=[1.0], scale=[0.5])
    check("Binarizer", [data], threshold=0.7)
    for norm in ("MAX", "L1", "L2"):
        check("Normalizer", [data], norm=norm)


def test_missing_values_are_replaced() -> None:
    data = sample((3, 4))
    data[1, 2] = data[0, 0] = np.nan
    check("Imputer", [data], imputed_value_floats=[1.0, 2.0, 3.0, 4.0], replaced_value_float=float("nan"))
    numbers = np.array([[1, 2], [7, 1]], np.int64)
    check("Imputer", [numbers], imputed_value_int64s=[5], replaced_value_int64=1)


def test_features_side_by_side_are_cut_or_filled_up() -> None:
    parts = [sample((3, 2)), sample((3, 4), seed=1), sample((3,), seed=2)]
    check("FeatureVectorizer", parts, inputdimensions=[3, 2, 1])


def test_linear_regression() -> None:
    coefficients = sample((6,)).tolist()
    check("LinearRegressor", [sample((5, 3))], coefficients=coefficients, intercepts=[0.5, 1.5], targets=2)
    with pytest.raises(UnsupportedError, match="post_transform=PROBIT"):
        run_op(
            "LinearRegressor",
            [sample((5, 3))],
            1,
            attributes={"coefficients": coefficients, "post_transform": "PROBIT"},
            domain=DOMAIN,
        )


@pytest.mark.parametrize("since", [2, 4])
def test_labels(since: int) -> None:
    numbers = np.array([[1, 2], [9, 3]], np.int64)
    check("LabelEncoder", [numbers], since, keys_int64s=[1, 2, 3], values_floats=[0.5, 1.5, 2.5], default_float=9.0)
    check("LabelEncoder", [numbers], since, keys_int64s=[1, 2, 3], values_int64s=[7, 8, 9], default_int64=-5)
    reals = np.array([1.5, np.nan, 2.5], np.float32)
    check_op(
        "LabelEncoder",
        [reals],
        since,
        attributes={"keys_floats": [1.5, float("nan")], "values_int64s": [4, 5]},
        expected=[np.array([4, 5, -1], np.int64)],
        domain=DOMAIN,
    )
    attributes = {"keys_int64s": [1], "values_strings": ["one"]}
    with pytest.raises(UnsupportedError, match="values that are strings"):
        run_op("LabelEncoder", [numbers], since, attributes=attributes, domain=DOMAIN)
