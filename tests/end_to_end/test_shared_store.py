"""Every form of a decode on hard-linked shards: ONNX Runtime refuses hard links to weights of nested graphs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from artifacts.bundle import Bundle
from artifacts.checks import Tolerances
from artifacts.schedule import Decode
from artifacts.shard_store.store import ShardStore
from artifacts.shard_store.verify import verify
from compiler.compile import compile_bundle
from compiler.options import CompileOptions, ModelFile, Precision, ScheduleName
from compiler.verify import verify as verify_bundle
from passes.two_stage_head import TwoStageHead
from tests.support.decode_forms import SCHEDULES
from tests.support.models import DATA, floats, graph_model, ints, normal, saved

MODEL = DATA / "t5_tiny" / "model.onnx"


def check(bundle: Path, store: Path) -> Bundle:
    """The bundle opens with links and answers; the store is sound."""
    opened = Bundle.open(bundle)
    assert opened.manifest.weights.shards
    assert all((bundle / shard.path).stat().st_nlink > 1 for shard in opened.manifest.weights.shards)
    checks = verify_bundle(bundle, None, None, None, Tolerances()).checks
    assert checks
    assert all(check.passed for check in checks)
    assert not verify(ShardStore.open(store)).problems
    return opened


def nested_model() -> onnx.ModelProto:
    """x float32 [batch, 32] times one matrix `times` (int64 [1]) times, and then times one that `flag` (bool [1]) says.

    The matrices are initializers of the body of a Loop, and of the branches of an If.
    """
    matrices = {name: numpy_helper.from_array(normal(32, 32, seed=seed) / 8, name) for seed, name in enumerate("abc")}
    state = [ints("i"), helper.make_tensor_value_info("going", TensorProto.BOOL, []), floats("h", "batch", 32)]
    body = helper.make_graph(
        [helper.make_node("MatMul", ["h", "a"], ["next"]), helper.make_node("Identity", ["going"], ["still"])],
        "body",
        state,
        [helper.make_tensor_value_info("still", TensorProto.BOOL, []), floats("next", "batch", 32)],
        [matrices["a"]],
    )
    then, other = (
        helper.make_graph(
            [helper.make_node("MatMul", ["looped", name], [f"{name}_y"])],
            name,
            [],
            [floats(f"{name}_y", "batch", 32)],
            [matrices[name]],
        )
        for name in "bc"
    )
    nodes = [
        helper.make_node("Squeeze", ["times"], ["count"]),
        helper.make_node("Loop", ["count", "", "x"], ["looped"], body=body),
        helper.make_node("Squeeze", ["flag"], ["condition"]),
        helper.make_node("If", ["condition"], ["y"], then_branch=then, else_branch=other),
    ]
    flag = helper.make_tensor_value_info("flag", TensorProto.BOOL, [1])
    return graph_model(nodes, [floats("x", "batch", 32), ints("times", 1), flag], [floats("y", "batch", 32)])


def test_weights_of_nested_graphs_are_shared_as_well(tmp_path: Path) -> None:
    model = ModelFile("m", saved(nested_model(), tmp_path / "m.onnx"))
    compile_bundle([model], tmp_path / "bundle", CompileOptions(), store=str(tmp_path / "store"))
    assert len(check(tmp_path / "bundle", tmp_path / "store").manifest.weights.shards) == 3


FORMS = (
    *((schedule, False, Precision.AUTO) for schedule in SCHEDULES),
    *((schedule, True, Precision.AUTO) for schedule in SCHEDULES if schedule is not ScheduleName.LOOP),
    (ScheduleName.ENGINE_LOOP, False, Precision.INT8_WEIGHT),
)


# A minute each on two busy cores: a transformer is compiled.
@pytest.mark.slow
@pytest.mark.parametrize(("schedule", "two_stages", "precision"), FORMS)
def test_a_decode_runs_on_links_in_every_form(
    tmp_path: Path, schedule: ScheduleName, two_stages: bool, precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    if two_stages:
        monkeypatch.setattr(TwoStageHead.__init__, "__defaults__", (0,))
        assert TwoStageHead() == replace(TwoStageHead(), least_bytes=0)
    options = CompileOptions(schedule=schedule, precision=precision)
    compile_bundle([ModelFile("m", MODEL)], tmp_path / "bundle", options, store=str(tmp_path / "store"))
    found = check(tmp_path / "bundle", tmp_path / "store").manifest.models["m"].schedule
    assert isinstance(found, Decode)
    assert (found.choice is not None) == two_stages
