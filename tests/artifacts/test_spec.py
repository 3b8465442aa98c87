from __future__ import annotations

import pytest
from pydantic import ValidationError

from artifacts.dtype import DType
from artifacts.spec import Signature, TensorSpec

IDS = TensorSpec(name="ids", dtype=DType.INT64, shape=("batch", "sequence"))
MASK = TensorSpec(name="mask", dtype=DType.INT64, shape=("batch", "sequence"))
IMAGE = TensorSpec(name="image", dtype=DType.FLOAT32, shape=("batch", 3, "height", "width"))
OUT = TensorSpec(name="out", dtype=DType.BFLOAT16, shape=("batch",), carrier=DType.UINT16)
SIGNATURE = Signature(inputs=(IDS, MASK, IMAGE), outputs=(OUT,))


def test_a_spec_prints_as_people_write_it() -> None:
    assert str(IMAGE) == "image: float32[batch, 3, height, width]"
    assert str(Signature(inputs=(IDS,), outputs=(OUT,))) == ("(ids: int64[batch, sequence]) -> (out: bfloat16[batch])")


def test_rank_is_the_number_of_dimensions() -> None:
    assert [spec.rank for spec in (IDS, IMAGE, OUT)] == [2, 4, 1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"shape": (-1,)},
        {"shape": ("",)},
        {"shape": (2.0,)},
        {"shape": (True,)},
        {"dtype": "float7"},
        {"unknown": 1},
    ],
)
def test_a_spec_refuses_what_is_not_a_tensor(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TensorSpec.model_validate({"name": "x", "dtype": DType.FLOAT32, "shape": (1,), **wrong})


def test_specs_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        IDS.name = "other"


def test_a_name_can_be_both_an_input_and_an_output_but_not_twice_one_of_them() -> None:
    Signature(inputs=(IDS,), outputs=(IDS,))
    for inputs, outputs in (((IDS, IDS), ()), ((), (OUT, OUT))):
        with pytest.raises(ValidationError, match="duplicate"):
            Signature(inputs=inputs, outputs=outputs)


def test_specs_are_found_by_name() -> None:
    assert SIGNATURE.input("image") is IMAGE
    assert SIGNATURE.output("out") is OUT
    for find in (SIGNATURE.input, SIGNATURE.output):
        with pytest.raises(KeyError):
            find("absent")


def test_symbols_come_once_each_in_order_of_appearance() -> None:
    assert SIGNATURE.symbols == ("batch", "sequence", "height", "width")


def test_a_signature_survives_json() -> None:
    assert Signature.model_validate_json(SIGNATURE.model_dump_json()) == SIGNATURE
