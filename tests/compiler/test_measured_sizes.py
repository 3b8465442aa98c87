from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from artifacts.dtype import DType
from artifacts.samples import Arrays, Sample
from artifacts.schedule import Decode
from artifacts.spec import Signature
from compiler.compile import compile_bundle
from compiler.generation import TokenFlags
from compiler.measured_sizes import measured_signature
from compiler.options import CompileOptions, ModelFile
from tests.support.bundles import spec
from tests.support.models import saved, toy_decoder

INT, FLOAT = DType.INT64, DType.FLOAT32
UNNAMED = Signature(
    inputs=(spec("image", FLOAT, "image_dim0", 4), spec("ids", INT, "ids_dim0", "ids_dim1")),
    outputs=(spec("logits", FLOAT, "d0", "d1", "d2"), spec("hidden", FLOAT)),
)


def sample(batch: int, length: int) -> Sample:
    inputs: Arrays = {"image": np.zeros((batch, 4), np.float32), "ids": np.zeros((batch, length), np.int64)}
    scores, hidden = np.zeros((batch, length, 11), np.float32), np.zeros((batch, 4 + length, 8), np.float32)
    return Sample(inputs, {"logits": scores, "hidden": hidden})


def test_equal_sizes_get_one_symbol_and_what_never_changes_is_a_number() -> None:
    found = measured_signature(UNNAMED, [sample(2, 7), sample(3, 14), sample(1, 1)])
    assert str(found) == (
        "(image: float32[image_dim0, 4], ids: int64[image_dim0, ids_dim1]) -> "
        "(logits: float32[image_dim0, ids_dim1, 11], hidden: float32[image_dim0, hidden_dim1, 8])"
    )


def test_a_size_that_the_file_names_keeps_its_name() -> None:
    named = UNNAMED.model_copy(update={"inputs": (spec("image", FLOAT, "n", 4), spec("ids", INT, "n", "t"))})
    found = measured_signature(named, [sample(2, 7), sample(3, 14)])
    assert found.inputs == named.inputs
    assert found.output("logits").shape == ("n", "t", 11)


def test_one_sample_tells_nothing() -> None:
    assert measured_signature(UNNAMED, [sample(2, 7)]) == UNNAMED


@pytest.mark.parametrize("declared", ["named apart", "without a rank"])
def test_a_decoder_whose_scores_have_sizes_of_their_own_decodes_with_no_help(tmp_path: Path, declared: str) -> None:
    model = toy_decoder()
    if declared == "named apart":
        for axis, dim in enumerate(model.graph.output[0].type.tensor_type.shape.dim):
            dim.dim_param = f"Addlogits_dim_{axis}"  # as torch's older exporter names them
    else:
        model.graph.output[0].type.tensor_type.ClearField("shape")
    options = CompileOptions(tokens=TokenFlags(1, (3, 4), 0, 9))
    done = compile_bundle([ModelFile("toy", saved(model, tmp_path / "toy.onnx"))], tmp_path / "bundle", options)
    assert isinstance(done.bundle.manifest.models["toy"].schedule, Decode)
