from __future__ import annotations

import json
from pathlib import Path

import pytest

from artifacts.errors import UsageError
from artifacts.neuron_options import NeuronOptions
from compiler.neuron.settings import arguments
from compiler.neuron.tuning.flag_sets import changes_numerics, flag_sets, parse_axis, read_sets
from tests.support.neuronx_cc import parsed

BASE = NeuronOptions(target="trn2", logical_nc_config=1, extra=("--verbose=info",))


def test_every_set_is_documented_and_none_is_there_twice() -> None:
    """Nothing cast: 3 types of models and 3 levels; two kinds of cast to each of 4 types make 8 times as many."""
    sets = flag_sets(BASE, {})
    assert len(sets) == len(set(sets)) == 9 * (1 + 8)
    for each in sets:
        assert NeuronOptions.model_validate(each.model_dump()) == each
        assert parsed(arguments(each)[1:])["logical_nc_config"] == 1
    assert [changes_numerics(each) for each in sets] == [False] * 9 + [True] * 72


def test_axes_may_be_restricted() -> None:
    axes = {
        "auto_cast": ("none", "all"),
        "auto_cast_type": ("bf16",),
        "model_type": ("transformer",),
        "optlevel": (1, 3),
    }
    assert [(each.auto_cast, each.auto_cast_type, each.optlevel) for each in flag_sets(BASE, axes)] == [
        ("none", None, 1),
        ("none", None, 3),
        ("all", "bf16", 1),
        ("all", "bf16", 3),
    ]
    with pytest.raises(UsageError, match="nothing is to be cast"):
        flag_sets(BASE, {"auto_cast": ("none",), "auto_cast_type": ("bf16",)})


def test_an_axis_is_read_and_what_is_no_value_is_told_at_once() -> None:
    assert parse_axis("optlevel", "3, 1,3") == (3, 1)
    assert parse_axis("auto_cast", None) == ()
    with pytest.raises(UsageError) as caught:
        parse_axis("auto_cast_type", "bf16,fp32,None,")
    assert [problem.message for problem in caught.value.problems] == [
        "'fp32' is none of its values",
        "'None' is none of its values",
        "'' is none of its values",
    ]
    assert caught.value.problems[0].hint == "write some of bf16,fp16,tf32,fp8_e4m3"


def test_sets_of_a_file_stand_over_the_bundles_options(tmp_path: Path) -> None:
    path = tmp_path / "sets.json"
    path.write_text(json.dumps([{"optlevel": 3}, {"auto_cast": "all", "extra": []}, {"optlevel": 3}]))
    assert read_sets(path, BASE) == (
        BASE.model_copy(update={"optlevel": 3}),
        BASE.model_copy(update={"auto_cast": "all", "extra": ()}),
    )


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("[", ["is no JSON"]),
        ("{}", ["is no list of sets"]),
        ("[]", ["is no list of sets"]),
        ("[1]", ["is no list of sets"]),
        ('[{"optlevel": "3"}, {}, {"level": 1}]', ["Input should be 1, 2 or 3", "Extra inputs"]),
        ('[{"auto_cast_type": "bf16"}, {"target": "inf2"}]', ["nothing that is cast", "no logical cores"]),
        ('[{"extra": ["--output=/etc/passwd"]}]', ["without a path"]),
        ("[" * 100_000, ["is no JSON"]),
    ],
)
def test_a_file_of_something_else_is_refused_with_all_that_is_wrong(
    text: str, messages: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "sets.json"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_sets(path, BASE)
    assert len(caught.value.problems) == len(messages)
    for problem, message in zip(caught.value.problems, messages, strict=True):
        assert message in problem.message
        assert problem.subject.startswith(f"--sets {path}")
