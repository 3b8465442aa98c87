"""Bundles with buckets: requests of many sizes, answered by engines of a few, and held to the source's answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("jax")

from artifacts.bundle import Bundle
from artifacts.errors import NumericsError, RunError
from artifacts.runtime import Session
from compiler.compile import compile_bundle
from compiler.generation import TokenFlags
from compiler.options import CacheMode, CompileOptions, ModelFile, PaddingName, ScheduleName
from compiler.runnable import runnable
from compiler.shapes import ShapeRanges, Shapes
from compiler.source_runner import SourceRunner
from tests.support.cli import unspool
from tests.support.models import (
    DATA,
    BundleCache,
    normal,
    saved,
    source_outputs,
    toy_decoder,
    toy_decoding,
)
from tests.support.sized import averaging_model, masked_model, request


def bucketed(target: str, *each: Shapes, **more: object) -> CompileOptions:
    first, *further = each
    ranges = tuple(ShapeRanges(opt=shapes) for shapes in further)
    return CompileOptions(target=target, opt_shapes=first, further_ranges=ranges, **more)  # type: ignore[arg-type]


def texts(batch: int, seq: int) -> Shapes:
    return (("ids", (batch, seq)), ("mask", (batch, seq)))


@pytest.fixture(scope="module")
def masked_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(masked_model(), tmp_path_factory.mktemp("masked") / "masked.onnx")


@pytest.fixture(scope="module")
def masked(cache: BundleCache, masked_file: Path) -> Path:
    options = bucketed("neuronx", texts(1, 32), texts(1, 4), texts(4, 8))
    return cache.get("masked-buckets", lambda path: compile_bundle([ModelFile("m", masked_file)], path, options))


def test_each_bucket_has_its_engine_and_the_weights_are_there_once(
    masked: Path, masked_file: Path, tmp_path: Path
) -> None:
    manifest = Bundle.open(masked).manifest
    assert sorted(manifest.engines) == ["m@1x32", "m@1x4", "m@4x8"]
    assert {engine.status for engine in manifest.engines.values()} == {"hlo-verified"}
    assert "`neuronx-cc compile BUNDLE/engines/m@4x8.hlo.pb" in manifest.engines["m@4x8"].needs[0].what
    entry = manifest.models["m"]
    assert entry.buckets is not None
    assert [bucket.sizes for bucket in entry.buckets.each] == [
        {"batch": 1, "seq": 4},
        {"batch": 1, "seq": 32},
        {"batch": 4, "seq": 8},
    ]
    assert entry.buckets.padding.exact
    assert entry.signature.input("ids").shape == ("batch", "seq")
    compile_bundle([ModelFile("m", masked_file)], tmp_path / "one", bucketed("neuronx", texts(4, 32)))
    one = Bundle.open(tmp_path / "one").manifest
    assert one.models["m"].buckets is None
    assert one.weights == manifest.weights
    refs = [set(engine.bindings.values()) for engine in manifest.engines.values()]
    assert refs[0] == refs[1] == refs[2] != set()


def test_requests_of_all_sizes_are_answered_as_by_the_source(masked: Path, masked_file: Path) -> None:
    runner = SourceRunner(masked_file)
    with runnable(Bundle.open(masked)) as proof, Session.of(proof) as session:
        for batch, seq in [(1, 1), (1, 3), (1, 4), (1, 5), (1, 31), (1, 32), (2, 1), (3, 7), (4, 8)]:
            inputs = request(batch, seq, seed=seq)
            found, expected = session.run(inputs), dict[str, Any](runner.run(inputs))
            assert found.keys() == expected.keys()
            for name, array in expected.items():
                assert found[name].dtype == array.dtype
                np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-6)
        with pytest.raises(RunError, match="the largest is for batch 1, seq 32"):
            session.run(request(2, 9))
    runner.close()


def test_what_was_seen_of_padding_is_told(masked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = Bundle.open(masked).report()
    assert report is not None
    assert any(notice.startswith("m: padding changed no answer, in ") for notice in report.notices)
    assert any(notice.startswith("m: has buckets for batch 1, seq 4; batch 1, seq 32;") for notice in report.notices)
    shown = unspool(capsys, "inspect", masked).stdout
    assert "batch 4, seq 8" in shown
    assert "of batch, copies of the last" in shown


def test_it_is_the_same_every_time(masked: Path, masked_file: Path, tmp_path: Path) -> None:
    options = bucketed("neuronx", texts(4, 8), texts(1, 4), texts(1, 32))
    compile_bundle([ModelFile("m", masked_file)], tmp_path / "b", options)
    assert (tmp_path / "b" / "manifest.json").read_bytes() == (masked / "manifest.json").read_bytes()


def test_a_verification_asks_every_bucket(masked: Path, masked_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more in ((), ("--against", masked_file)):
        found = unspool(capsys, "verify", masked, *more, "--json")
        assert (found.status, found.document["sources"]) == (0, ["m@1x32", "m@1x4", "m@4x8"])


def test_buckets_are_chosen_by_a_histogram(
    masked_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sizes.csv").write_text("seq,count\n3,50\n4,40\n9,5\n16,5\n")
    found = unspool(
        capsys,
        *("compile", f"m={masked_file}", "-o", tmp_path / "b", "--target", "torchscript"),
        *("--opt-shapes", "ids:1x4", "--buckets", tmp_path / "sizes.csv", "--most-buckets", "2", "--json"),
    )
    assert found.status == 0
    (choice,) = found.document["report"]["buckets"]
    assert (choice["symbols"], choice["sizes"], choice["shares"]) == (["seq"], [4, 16], pytest.approx([0.9, 0.1]))
    assert choice["padding"] == pytest.approx(1 - (150 + 160 + 45 + 80) / (90 * 4 + 10 * 16))
    with Session.open(tmp_path / "b") as session:
        for seq in (3, 9, 16):
            inputs = request(1, seq)
            expected = source_outputs(masked_file, inputs)
            np.testing.assert_allclose(session.run(inputs)["scores"], expected["scores"], rtol=1e-5, atol=1e-6)
    assert "Buckets of seq in m, as chosen" in unspool(capsys, "inspect", tmp_path / "b").stdout


def images(width: int, batch: int = 2) -> Shapes:
    return (("image", (batch, 1, 8, width)),)


def test_padding_that_changes_answers_is_measured_and_told(tmp_path: Path) -> None:
    file = saved(averaging_model(), tmp_path / "a.onnx")
    options = bucketed("torchscript", images(8), images(24))
    bundle = compile_bundle([ModelFile("a", file)], tmp_path / "b", options).bundle
    entry, report = bundle.manifest.models["a"], bundle.report()
    assert report is not None
    assert entry.buckets is not None
    assert not entry.buckets.padding.exact
    (told,) = (notice for notice in report.notices if "PADDING CHANGES ITS ANSWERS" in notice)
    assert "at worst mean of one of batch 1, w" in told
    assert any(found.after == "padding" and (found.max_abs or 0) > 1e-3 for found in report.numerics)
    with Session.open(tmp_path / "b") as session:
        image = normal(2, 1, 8, 24)
        np.testing.assert_allclose(
            session.run({"image": image})["mean"], source_outputs(file, {"image": image})["mean"], rtol=1e-4, atol=1e-5
        )
        narrow = normal(1, 1, 8, 14)
        expected = source_outputs(file, {"image": narrow})
        found = session.run({"image": narrow})
        # What a size is computed from is cut too: 14 columns make 7 of stride 2.
        np.testing.assert_allclose(found["halved"], expected["halved"], rtol=1e-4, atol=1e-5)
        assert not np.allclose(found["mean"], expected["mean"], atol=1e-3)


def test_padding_that_has_to_be_exact_and_is_not_makes_no_bundle(tmp_path: Path) -> None:
    file = saved(averaging_model(), tmp_path / "a.onnx")
    options = bucketed("torchscript", images(8), images(24), padding=PaddingName.EXACT)
    with pytest.raises(NumericsError, match=r"'mean'.* differs from the source model after padding to its bucket"):
        compile_bundle([ModelFile("a", file)], tmp_path / "b", options)
    assert not (tmp_path / "b").exists()


MANY_SECONDS = pytest.mark.slow  # a decode is lowered for each bucket, and XLA compiles each twice


@pytest.mark.parametrize(
    ("target", "schedule", "mode", "engines"),
    [
        ("torchscript", ScheduleName.ENGINE_LOOP, CacheMode.PADDED, ["toy@{}.decode"]),
        pytest.param("neuronx", ScheduleName.UNROLLED, CacheMode.ON, ["toy@{}.decode"], marks=MANY_SECONDS),
        pytest.param(
            "neuronx",
            ScheduleName.PARTITIONED,
            CacheMode.ON,
            ["toy@{}.encoder", "toy@{}.until-2", "toy@{}.until-4"],
            marks=MANY_SECONDS,
        ),
        pytest.param(
            "neuronx", ScheduleName.LOOP, CacheMode.PADDED, ["toy@{}.encoder", "toy@{}.step"], marks=MANY_SECONDS
        ),
        ("neuronx", ScheduleName.LOOP, CacheMode.ON, ["toy@{}.encoder", "toy@{}.step"]),
    ],
)
def test_rows_of_a_decode_go_to_the_bucket_that_holds_them(
    target: str, schedule: ScheduleName, mode: CacheMode, engines: list[str], tmp_path: Path
) -> None:
    options = bucketed(
        target,
        (("x", (1, 4)),),
        (("x", (4, 4)),),
        schedule=schedule,
        cache=mode,
        partitions=(2, 4) if schedule is ScheduleName.PARTITIONED else (),
        tokens=TokenFlags(start=0, eos=(2, 9), pad=0, max_new_tokens=4),
    )
    model = ModelFile("toy", saved(toy_decoder(), tmp_path / "toy.onnx"))
    bundle = compile_bundle([model], tmp_path / "b", options).bundle
    assert set(bundle.manifest.engines) == {name.format(batch) for name in engines for batch in (1, 4)}
    with runnable(bundle) as proof, Session.of(proof) as session:
        for batch in (1, 2, 3, 4):
            x = normal(batch, 4, seed=batch)
            answer, expected = session.run({"x": x}), toy_decoding(x, 0, (2, 9), 4)
            found = [row[:count].tolist() for row, count in zip(answer["tokens"], answer["lengths"], strict=True)]
            assert found == expected
            assert answer["tokens"].shape == (batch, max(map(len, expected)))
        many = session.run_many([{"x": normal(rows, 4, seed=rows)} for rows in (1, 2, 3)])
        assert [answer["lengths"].shape for answer in many] == [(1,), (2,), (3,)]
        with pytest.raises(RunError, match="the largest is for batch 4"):
            session.run({"x": normal(5, 4)})
        assert session.run({"x": normal(5, 4)}, batch=8)["lengths"].shape == (5,)


BERT_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


@pytest.mark.slow  # a minute: BERT is lowered at three sizes, and XLA compiles each
def test_a_text_of_any_length_is_classified_as_by_the_source(tmp_path: Path) -> None:
    file = DATA / "bert_tiny" / "model.onnx"
    sizes = ((1, 8), (1, 32), (4, 16))
    options = bucketed("neuronx", *(tuple((name, each) for name in BERT_INPUTS) for each in sizes))
    bundle = compile_bundle([ModelFile("bert", file)], tmp_path / "b", options).bundle
    one = compile_bundle(
        [ModelFile("bert", file)],
        tmp_path / "one",
        bucketed("neuronx", tuple((name, (4, 16)) for name in BERT_INPUTS)),
    ).bundle
    assert bundle.manifest.weights == one.manifest.weights
    assert set(bundle.manifest.engines) == {"bert@1x8", "bert@1x32", "bert@4x16"}
    runner, random = SourceRunner(file), np.random.default_rng(0)
    with runnable(bundle) as proof, Session.of(proof) as session:
        for batch, seq in [(1, 1), (1, 5), (1, 8), (1, 9), (1, 20), (1, 32), (2, 3), (3, 15), (4, 16)]:
            ids = random.integers(0, 100, (batch, seq))
            inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
            expected: Any = runner.run(inputs)["logits"]
            np.testing.assert_allclose(session.run(inputs)["logits"], expected, rtol=1e-4, atol=1e-5)
    runner.close()
