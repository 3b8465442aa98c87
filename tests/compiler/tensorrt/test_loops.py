"""Which decodes TensorRT-RTX takes with the loop inside the engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from artifacts.dtype import DType
from artifacts.errors import TargetError
from artifacts.plan_build import PlanBuild, Sizes
from artifacts.schedule import Control, Engine, Unrolled
from artifacts.shards import ShardIndex
from compiler.decode_onnx import emit_whole
from compiler.emit_onnx import attach_weights, serialized
from compiler.targets.target import Placement
from compiler.tensorrt.builder import build_plan
from tests.support.composed import EVERYTHING, composed
from tests.support.decoder_programs import GENERATION, Form


def built(form: Form, control: Control, folder: Path) -> bytes:
    """The plan of a whole decode, its weights inside the graph."""
    decode = composed(form).scheduled(control, GENERATION)
    body, _ = emit_whole(decode.functions)
    model, _ = attach_weights(body, Placement(folder, decode.weights, ShardIndex({})), EVERYTHING)
    build = PlanBuild(
        dtypes=(DType.FLOAT32,),
        capabilities=("sm89",),
        profiles=({"x": Sizes(least=(1, 4), usual=(2, 4), most=(8, 4))},),
    )
    return build_plan(pytest.importorskip("tensorrt_rtx"), "m", serialized(model), folder, build)


def test_a_loop_that_carries_tokens_of_one_length_is_built_and_smaller_than_its_positions(tmp_path: Path) -> None:
    assert len(built("padded", Engine(), tmp_path)) < len(built("padded", Unrolled(), tmp_path))


@pytest.mark.parametrize("form", ["recompute", "cached"])
def test_a_loop_that_carries_what_grows_is_the_builders_to_refuse(form: Form, tmp_path: Path) -> None:
    """If it no longer is, the target can declare it."""
    with pytest.raises(TargetError, match="IRecurrenceLayer must have inputs with same shape"):
        built(form, Engine(), tmp_path)
