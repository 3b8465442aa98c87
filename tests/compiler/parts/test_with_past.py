from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from artifacts.checks import Tolerances
from artifacts.errors import SourceError
from artifacts.samples import Sample, read_arrays
from compiler.options import ModelFile
from compiler.parts.folder import model_in_folder
from compiler.parts.with_past import check_with_past
from tests.support import parts
from tests.support.models import DATA, saved


def check(model: ModelFile, written: int = 4) -> None:
    inputs = parts.requests(written=written)
    check_with_past(model, [Sample(inputs, {"logits": parts.scores(inputs)})], Tolerances())


@pytest.mark.parametrize("decoder", [parts.decoder, parts.merged])
def test_the_step_of_the_same_model_passes(decoder: object, tmp_path: Path) -> None:
    assert callable(decoder)
    check(model_in_folder("m", parts.written(tmp_path, decoder(), parts.with_past())))


def test_the_step_of_another_model_is_told(tmp_path: Path) -> None:
    """It differs in one row of its table: the scores part at the position where that token is fed."""
    inputs = parts.requests(written=4)
    table = parts.WRITTEN.copy()
    table[inputs["decoder_input_ids"][1, 2]] += 1
    model = model_in_folder("m", parts.written(tmp_path, past=parts.with_past(table)))
    with pytest.raises(SourceError, match=r"decoder_with_past_model.onnx: at position 2 its scores are not those"):
        check(model)
    check(model, written=1)  # with one token there is no step


def test_a_step_that_wants_more_than_the_decoder_gives_is_told(tmp_path: Path) -> None:
    decoder = parts.decoder()
    del decoder.graph.output[1:]
    model = model_in_folder("m", parts.written(tmp_path, decoder, parts.with_past()))
    with pytest.raises(SourceError, match=r"takes past_key_values.0.decoder.sum, which the decoder"):
        check(model)


def test_a_model_without_a_step_needs_no_check(tmp_path: Path) -> None:
    check(model_in_folder("m", parts.written(tmp_path)))
    check_with_past(ModelFile("m", tmp_path / "missing.onnx"), [], Tolerances())


@pytest.mark.parametrize("family", ["bart_tiny", "t5_tiny"])
def test_exported_steps_agree_with_the_model_that_was_exported(family: str, tmp_path: Path) -> None:
    """The scores are PyTorch's own; one weight of the step is then changed."""
    known = read_arrays(DATA / family / "parts" / "test_io.npz")
    sample = Sample({name: known[name] for name in ("input_ids", "attention_mask", "decoder_input_ids")}, known)
    model = model_in_folder(family, DATA / family / "parts")
    check_with_past(model, [sample], Tolerances())
    assert model.parts is not None
    assert model.parts.decoder_with_past is not None
    proto = onnx.load_model(model.parts.decoder_with_past)
    weight = next(tensor for tensor in proto.graph.initializer if len(tensor.raw_data) > 1024)
    weight.raw_data = bytes(len(weight.raw_data))
    other = ModelFile(family, model.path, type(model.parts)(model.parts.encoder, saved(proto, tmp_path / "other.onnx")))
    with pytest.raises(SourceError, match=r"other.onnx: at position 1 its scores are not those"):
        check_with_past(other, [sample], Tolerances())
