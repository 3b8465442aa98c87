from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import NodeProto, helper

from artifacts.dtype import DType
from artifacts.engines import Buffer, EngineRunner, open_engine
from artifacts.errors import BundleError
from artifacts.manifest import EngineEntry
from artifacts.runtime.partition_decode import PartitionDecoder
from artifacts.schedule import CacheSlot, Decode, Generation, Partitioned
from artifacts.shards import ShardIndex
from artifacts.spec import Signature, TensorSpec
from tests.support.bundles import ACCESS, Graph, spec

RULES = Generation(start=0, eos=(7, 9), pad=5, max_new_tokens=9)
SLOT = CacheSlot(input="past", output="present", axis=1, batch_axis=0, init="empty")
BY = spec("by", DType.INT64, "batch", 1)
SOURCE = Signature(inputs=(BY, spec("tokens", DType.INT64, "batch", "t")), outputs=())


def partition(begin: int, end: int) -> Graph:
    """Each row counts up by its own number; its slot holds the tokens that it was given."""
    constants = {"seven": 7, "nine": 9, "pad": 5}
    nodes: list[NodeProto] = [helper.make_node("Constant", [], [n], value_int=v) for n, v in constants.items()]
    token, ended, past = "tokens", "ended", "past"
    for at in range(begin, end):
        nodes += [
            helper.make_node("Concat", [past, token], [f"past{at}"], axis=1),
            helper.make_node("Add", [token, "by"], [f"sum{at}"]),
            helper.make_node("Where", [ended, "pad", f"sum{at}"], [f"token{at}"]),
            helper.make_node("Equal", [f"token{at}", "seven"], [f"seven{at}"]),
            helper.make_node("Equal", [f"token{at}", "nine"], [f"nine{at}"]),
            helper.make_node("Or", [f"seven{at}", f"nine{at}"], [f"end{at}"]),
            helper.make_node("Or", [ended, f"end{at}"], [f"ended{at}"]),
        ]
        token, ended, past = f"token{at}", f"ended{at}", f"past{at}"
    nodes.append(helper.make_node("Concat", [f"token{at}" for at in range(begin, end)], ["generated"], axis=1))
    for name, result in ((token, "tokens_next"), (ended, "ended_next"), (past, "present")):
        nodes.append(helper.make_node("Identity", [name], [result]))
    signature = Signature(
        inputs=(
            BY,
            spec("tokens", DType.INT64, "batch", 1),
            spec("ended", DType.BOOL, "batch", 1),
            spec("past", DType.INT64, "batch", begin),
        ),
        outputs=(
            spec("generated", DType.INT64, "batch", end - begin),
            spec("tokens_next", DType.INT64, "batch", 1),
            spec("ended_next", DType.BOOL, "batch", 1),
            spec("present", DType.INT64, "batch", end),
        ),
    )
    return Graph(nodes, signature)


def runner(folder: Path, name: str, graph: Graph) -> EngineRunner:
    (folder / name).write_bytes(graph.to_bytes({}, ShardIndex({})))
    entry = EngineEntry(
        kind="onnxruntime", target="t", signature=graph.signature, source=name, status="emitted", weights=ACCESS
    )
    return open_engine(folder, entry, 1)


def decoder(folder: Path, boundaries: Sequence[int]) -> PartitionDecoder:
    schedule = Decode(
        encoder=None,
        step="step",
        tokens="tokens",
        logits="logits",
        state="cached",
        control=Partitioned(boundaries=tuple(boundaries)),
        slots=(SLOT,),
        generation=RULES,
    )
    cuts = (0, *boundaries)
    runners = [runner(folder, f"until-{end}.onnx", partition(begin, end)) for begin, end in pairwise(cuts)]
    return PartitionDecoder(schedule, None, runners, SOURCE)


@pytest.mark.parametrize(
    ("by", "tokens", "lengths", "partitions"),
    [
        ([7], [[7]], [1], 1),
        ([3], [[3, 6, 9]], [3], 1),
        ([1], [[1, 2, 3, 4, 5, 6, 7]], [7], 3),
        ([7, 3], [[7, 5, 5], [3, 6, 9]], [1, 3], 1),
        ([2, 7], [[2, 4, 6, 8, 10, 12, 14, 16, 18], [7, *[5] * 8]], [9, 1], 3),
        ([], np.zeros((0, 0)), [], 1),
    ],
)
def test_it_stops_at_the_boundary_where_every_row_has_ended(
    tmp_path: Path, by: list[int], tokens: list[list[int]], lengths: list[int], partitions: int
) -> None:
    decode = decoder(tmp_path, (3, 6, 9))
    answer = decode.run({"by": np.array(by, np.int64).reshape(-1, 1)})
    np.testing.assert_array_equal(answer.outputs["tokens"], tokens)
    np.testing.assert_array_equal(answer.outputs["lengths"], lengths)
    assert answer.calls == {"step": partitions}


@settings(max_examples=25, deadline=None)
@given(by=st.lists(st.integers(1, 8), min_size=1, max_size=12), cuts=st.sets(st.integers(1, 8)))
def test_a_row_is_the_same_alone_and_in_any_batch(
    tmp_path_factory: pytest.TempPathFactory, by: list[int], cuts: set[int]
) -> None:
    decode = decoder(tmp_path_factory.mktemp("partitions"), (*sorted(cuts), 9))
    found = decode.run({"by": np.array(by)[:, None]}).outputs
    for row, tokens, length in zip(by, found["tokens"], found["lengths"], strict=True):
        alone = decode.run({"by": np.array([[row]])}).outputs
        assert alone["lengths"].tolist() == [length]
        assert alone["tokens"][0].tolist() == tokens[:length].tolist()
        assert (tokens[length:] == RULES.pad).all()


def test_rows_that_have_ended_are_dropped_at_a_boundary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = decoder(tmp_path, (3, 6, 9))
    shapes: list[set[int]] = []

    def watched(inner: EngineRunner) -> Callable[[Mapping[str, Buffer]], dict[str, Buffer]]:
        def run(given: Mapping[str, Buffer]) -> dict[str, Buffer]:
            shapes.append({buffer.shape[0] for buffer in given.values()})
            return run_inner(given)

        run_inner = inner.run
        return run

    for inner in decode._partitions:
        monkeypatch.setattr(inner, "run", watched(inner))
    answer = decode.run({"by": np.array([[7], [1], [3], [2]])})
    assert answer.outputs["lengths"].tolist() == [1, 7, 3, 9]
    assert shapes == [{4}, {2}, {2}]


def test_the_state_is_not_the_callers(tmp_path: Path) -> None:
    signature = decoder(tmp_path, (9,)).signature
    assert signature.inputs == (BY,)
    assert [(s.name, s.dtype, s.rank) for s in signature.outputs] == [
        ("tokens", DType.INT64, 2),
        ("lengths", DType.INT64, 1),
    ]


class Counting:
    """A runner that tells what was uploaded to it."""

    def __init__(self, inner: EngineRunner, uploads: list[str]) -> None:
        self.inner, self.uploads = inner, uploads

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def upload(self, spec: TensorSpec, array: npt.NDArray[Any]) -> object:
        self.uploads.append(spec.name)
        return self.inner.upload(spec, array)


def test_the_state_goes_from_engine_to_engine_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = decoder(tmp_path, (3, 9))
    uploads: list[str] = []
    monkeypatch.setattr(decode, "_partitions", tuple(Counting(inner, uploads) for inner in decode._partitions))
    decode.run({"by": np.array([[1]])})
    assert uploads.count("tokens") == uploads.count("ended") == 1


@dataclass(frozen=True)
class Claiming:
    """A runner that says another signature is its own."""

    inner: EngineRunner
    signature: Signature

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": partition(0, 9).signature.inputs[:2]}, "partition 0: takes .*, not tokens of a fixed length"),
        ({"inputs": partition(0, 9).signature.inputs[:1]}, "partition 0: does not take tokens"),
        ({"outputs": partition(0, 9).signature.outputs[:2]}, "partition 0: gives .*, not generated tokens"),
    ],
)
def test_engines_that_do_not_fit_are_refused(
    tmp_path: Path, change: dict[str, tuple[TensorSpec, ...]], message: str
) -> None:
    decode = decoder(tmp_path, (9,))
    (inner,) = decode._partitions
    runner = Claiming(inner, inner.signature.model_copy(update=change))
    with pytest.raises(BundleError, match=message):
        PartitionDecoder(decode._schedule, None, [cast(EngineRunner, runner)], SOURCE)
