from __future__ import annotations

import numpy as np
import pytest

from artifacts.errors import UnsupportedError
from tests.support.onnx_ops import check_op, run_op, sample


@pytest.mark.parametrize("since", [1, 6, 7, 10])
@pytest.mark.parametrize("outputs", [1, 2])
def test_keeps_everything(since: int, outputs: int) -> None:
    data = sample((3, 4))
    mask = np.ones((3, 4), bool if since >= 10 else np.float32)
    attributes = {"is_test": 1} if since < 7 else {}
    check_op("Dropout", [data], since, attributes=attributes, outputs=outputs, expected=[data, mask][:outputs])


@pytest.mark.parametrize("since", [12, 13, 22])
@pytest.mark.parametrize("outputs", [1, 2])
def test_keeps_everything_with_inputs(since: int, outputs: int) -> None:
    data, ratio = sample((3, 4)), np.array(0.3, np.float32)
    expected = [data, np.ones((3, 4), bool)][:outputs]
    for inputs in ([data], [data, ratio], [data, ratio, np.array(False)], [data, None, np.array(False)]):
        check_op("Dropout", inputs, since, outputs=outputs, constants={1, 2}, expected=expected)


def test_training_without_dropping_anything() -> None:
    inputs = [sample((3, 4)), np.array(0, np.float32), np.array(True)]
    check_op("Dropout", inputs, 22, outputs=2, constants={1, 2}, expected=[inputs[0], np.ones((3, 4), bool)])


@pytest.mark.parametrize("since", [1, 6])
def test_until_version_6_the_default_is_to_train(since: int) -> None:
    with pytest.raises(UnsupportedError, match="training mode"):
        run_op("Dropout", [sample((3, 4))], since)


@pytest.mark.parametrize("constants", [(), (1, 2)])
def test_training_is_refused(constants: tuple[int, ...]) -> None:
    inputs = [sample((3, 4)), np.array(0.5, np.float32), np.array(True)]
    with pytest.raises(UnsupportedError, match="training mode"):
        run_op("Dropout", inputs, 22, constants=constants)
