from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, helper

from artifacts.carriers import widened
from artifacts.dtype import DType
from artifacts.errors import BundleError, RunError, UsageError
from artifacts.samples import Arrays, Sample
from artifacts.spec import Signature
from compiler.samples import draw_samples, read_samples
from compiler.shapes import ShapeRanges
from compiler.source_runner import SourceRunner
from passes.onnx_to_torch.convert import source_inputs, source_signature
from passes.onnx_to_torch.input_hints import input_hint
from passes.onnx_to_torch.source import load_source
from tests.support.looping import LOOPS
from tests.support.models import Array, floats, graph_model, ints, normal, perceptron, saved
from tests.support.programs import parsed


def drawn(model: ModelProto, folder: Path, ranges: ShapeRanges = ShapeRanges()) -> tuple[Sample, ...]:  # noqa: B008
    """The samples of a model, after a check that the answers are the source's own."""
    source = load_source(saved(model, folder / "model.onnx"))
    hints = {value.name or "": input_hint(value) for value in source_inputs(source)}
    runner = SourceRunner(source.path)
    samples = draw_samples(source_signature(source), hints, runner, ranges)
    for sample in samples:
        for name, array in runner.run(sample.inputs).items():
            np.testing.assert_array_equal(sample.outputs[name], array)
    return samples


def embedding(rows: int, *, then: Sequence[str] = ()) -> ModelProto:
    """ids int64 [batch, seq] -> rows of a table, after operators that hand the ids on."""
    names = ["ids", *(f"ids_{number}" for number in range(len(then)))]
    nodes = [
        helper.make_node(op, [before, *(["column"] if op == "Unsqueeze" else [])], [after])
        for op, before, after in zip(then, names, names[1:], strict=False)
    ]
    nodes.append(helper.make_node("Gather", ["table", names[-1]], ["y"]))
    weights: dict[str, Array] = {"table": normal(rows, 3), "column": np.array([2], np.int64)}
    rank = 3 + then.count("Unsqueeze")
    return graph_model(
        nodes, [ints("ids", "batch", "seq")], [floats("y", *(f"d{axis}" for axis in range(rank)))], weights
    )


def masked() -> ModelProto:
    """ids and mask int64 [batch, seq]: a mean over the rows that the mask keeps, which needs at least one."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("Cast", ["mask"], ["weights"], to=1),
        helper.make_node("Unsqueeze", ["weights", "last"], ["column"]),
        helper.make_node("Mul", ["rows", "column"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "time"], ["sums"]),
        helper.make_node("ReduceSum", ["column", "time"], ["counts"]),
        helper.make_node("Div", ["sums", "counts"], ["y"]),
    ]
    weights: dict[str, Array] = {"table": normal(10, 3), "last": np.array([2]), "time": np.array([1])}
    inputs = [ints("ids", "batch", "seq"), ints("mask", "batch", "seq")]
    return graph_model(nodes, inputs, [floats("y", "batch", 1, 3)], weights)


def added(*shape: int, declared: Sequence[int | str]) -> ModelProto:
    """x + constant: runs only where x broadcasts with the constant's shape into x's own."""
    nodes = [helper.make_node("Add", ["x", "constant"], ["sum"]), helper.make_node("Expand", ["sum", "sizes"], ["y"])]
    weights: dict[str, Array] = {"constant": normal(*shape), "sizes": np.array(shape)}
    outputs = [f"d{axis}" for axis in range(len(declared))]
    return graph_model(nodes, [floats("x", *declared)], [floats("y", *outputs)], weights)


@settings(max_examples=8, deadline=None)
@given(rows=st.integers(1, 40), then=st.lists(st.sampled_from(("Identity", "Unsqueeze")), max_size=2, unique=True))
def test_token_ids_lie_in_the_table_that_they_index(
    tmp_path_factory: pytest.TempPathFactory, rows: int, then: list[str]
) -> None:
    for sample in drawn(embedding(rows, then=then), tmp_path_factory.mktemp("table")):
        assert sample.inputs["ids"].min() >= 0
        assert sample.inputs["ids"].max() < rows


def test_a_row_of_a_mask_is_never_all_zeros_and_not_always_all_ones(tmp_path: Path) -> None:
    samples = drawn(masked(), tmp_path)
    for sample in samples:
        assert (sample.inputs["mask"].sum(axis=1) > 0).all()
        assert np.isfinite(sample.outputs["y"]).all()
    assert set(np.unique(samples[0].inputs["mask"])) == {0, 1}


def test_the_first_sample_has_no_size_below_2_and_the_last_is_the_smallest(tmp_path: Path) -> None:
    first, second, last = drawn(masked(), tmp_path)
    assert min(first.inputs["ids"].shape) >= 2
    assert first.inputs["ids"].shape == first.inputs["mask"].shape
    assert all(a != b for a, b in zip(first.inputs["ids"].shape, second.inputs["ids"].shape, strict=True))
    assert last.inputs["ids"].shape == (1, 1)


def test_samples_differ_in_content_and_are_the_same_every_time(tmp_path: Path) -> None:
    once, again = drawn(perceptron(), tmp_path), drawn(perceptron(), tmp_path)
    for one, other in zip(once, again, strict=True):
        np.testing.assert_array_equal(one.inputs["x"], other.inputs["x"])
    assert not np.array_equal(once[0].inputs["x"][:1], once[1].inputs["x"][:1])


def test_different_symbols_have_different_sizes(tmp_path: Path) -> None:
    names = ("n", "channels", "height", "width", "time", "other", "samples", "signal")
    inputs = [
        floats("image", "n", 3, "height", "width"),
        ints("ids", "n", "time"),
        ints("more", "n", "other"),
        floats("sound", "n", "samples"),
        floats("noise", "n", "signal"),
    ]
    nodes = [helper.make_node("Identity", [value.name], [f"{value.name}_out"]) for value in inputs]
    outputs = [floats(f"{value.name}_out", *("?" * len(value.type.tensor_type.shape.dim))) for value in inputs]
    for value, like in zip(outputs, inputs, strict=True):
        value.type.CopyFrom(like.type)
    samples = drawn(graph_model(nodes, inputs, outputs), tmp_path)
    for sample in samples[:2]:
        sizes = [*sample.inputs["image"].shape[:1], *sample.inputs["image"].shape[2:]]
        sizes += [sample.inputs[name].shape[1] for name in ("ids", "more", "sound", "noise")]
        assert len(set(sizes)) == len(sizes) == len(names) - 1


@pytest.mark.parametrize(
    ("shape", "declared"),
    [
        ((16, 5), ("batch", "seq", 5)),
        ((75, 5), ("batch", "seq", 5)),
        ((3, 224, 320), ("batch", 3, "height", "width")),
        ((3, 224, 224), ("batch", 3, "height", "width")),
        ((576,), ("batch", "samples")),
    ],
)
def test_sizes_that_the_source_accepts_are_found(
    tmp_path: Path, shape: tuple[int, ...], declared: tuple[int | str, ...]
) -> None:
    first = drawn(added(*shape, declared=declared), tmp_path)[0]
    assert first.inputs["x"].shape == (2, *shape)


def test_one_size_under_two_names_is_found(tmp_path: Path) -> None:
    nodes = [helper.make_node("Mul", ["a", "b"], ["y"])]
    inputs = [ints("a", "batch", "seq"), ints("b", "batch", "seq_1")]
    samples = drawn(graph_model(nodes, inputs, [ints("y", "batch", "seq")]), tmp_path)
    assert len(samples) == 3
    assert samples[0].inputs["a"].shape == samples[0].inputs["b"].shape


def test_the_state_of_a_recurrence_has_the_batchs_size_though_no_name_says_so(tmp_path: Path) -> None:
    weights = {"w": normal(1, 16, 3), "r": normal(1, 16, 4)}
    node = helper.make_node("LSTM", ["x", "w", "r", "", "", "h", "c"], ["y", "last"], hidden_size=4)
    inputs = [floats("x", 7, "x_batch", 3), floats("h", 1, "h_batch", 4), floats("c", 1, "c_batch", 4)]
    outputs = [floats("y", 7, 1, "a", 4), floats("last", 1, "b", 4)]
    for sample in drawn(graph_model([node], inputs, outputs, weights), tmp_path):
        assert len({array.shape[1] for array in sample.inputs.values()}) == 1


def test_a_source_that_runs_on_no_size_tried_says_what_to_do(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["weights", "x"], ["y"])]
    model = graph_model(nodes, [floats("x", "batch", "seq")], [floats("y", 3, "seq")], {"weights": normal(3, 17)})
    with pytest.raises(RunError) as caught:
        drawn(model, tmp_path)
    (problem,) = caught.value.problems
    assert "the source fails on x:2x512" in problem.message
    assert "--opt-shapes" in problem.hint


def test_failing_on_one_size_after_another_takes_no_longer_than_an_answer(tmp_path: Path) -> None:
    class Counted(SourceRunner):
        tried = 0

        def run(self, inputs: Arrays) -> dict[str, Array]:
            self.tried += 1
            return super().run(inputs)

    nodes = [helper.make_node("MatMul", ["weights", "x"], ["y"])]
    model = graph_model(nodes, [floats("x", "batch", "seq")], [floats("y", 3, "seq")], {"weights": normal(3, 17)})
    source = load_source(saved(model, tmp_path / "model.onnx"))
    tried = []
    for seconds in (900, 0):
        runner = Counted(source.path)
        runner.seconds = seconds
        with pytest.raises(RunError):
            draw_samples(source_signature(source), {}, runner, ShapeRanges())
        tried.append(runner.tried)
    assert tried[0] > 1
    assert tried[1] == 1


def test_given_shapes_are_taken(tmp_path: Path) -> None:
    given = ShapeRanges(min=(("x", (4, 17, 5)),), opt=(("x", (5, 17, 5)),), max=(("x", (6, 17, 5)),))
    samples = drawn(added(17, 5, declared=("batch", "seq", 5)), tmp_path, given)
    assert [sample.inputs["x"].shape[0] for sample in samples] == [5, 6, 4]


def test_a_shape_given_for_one_input_fixes_its_symbols_in_the_others(tmp_path: Path) -> None:
    samples = drawn(masked(), tmp_path, ShapeRanges(opt=(("mask", (4, 9)),)))
    assert {sample.inputs["ids"].shape for sample in samples} == {(4, 9)}


def test_shapes_given_for_the_smallest_or_the_largest_must_run(tmp_path: Path) -> None:
    model = added(16, 5, declared=("batch", "seq", 5))
    assert len(drawn(model, tmp_path)) > 0
    for ranges in (ShapeRanges(min=(("x", (1, 9, 5)),)), ShapeRanges(max=(("x", (1, 9, 5)),))):
        with pytest.raises(RunError, match="x:1x9x5"):
            drawn(model, tmp_path, ranges)


def test_a_model_without_symbols_has_one_sample(tmp_path: Path) -> None:
    assert len(drawn(added(4, 5, declared=(2, 4, 5)), tmp_path)) == 1


def test_a_loop_runs_in_every_sample_and_not_always_as_often(tmp_path: Path) -> None:
    samples = drawn(LOOPS["counted"].model, tmp_path)
    assert [int(sample.inputs["count"]) for sample in samples] == [3, 5, 1]
    fixed = LOOPS["counted"].text.replace("[n, 3]", "[2, 3]")
    assert len(drawn(parsed(fixed), tmp_path)) == 3, "though no size is open"


def test_a_scalar_compared_with_constants_takes_one_of_them(tmp_path: Path) -> None:
    nodes = [helper.make_node("Equal", ["rate", "wanted"], ["same"]), helper.make_node("Cast", ["same"], ["y"], to=1)]
    model = graph_model(nodes, [ints("rate")], [floats("y")], {"wanted": np.array(16000)})
    (sample,) = drawn(model, tmp_path)
    assert sample.inputs["rate"] == 16000


class TestGiven:
    """Samples that the user brings."""

    @pytest.fixture
    def runner(self, tmp_path: Path) -> SourceRunner:
        return SourceRunner(saved(masked(), tmp_path / "masked.onnx"))

    @pytest.fixture
    def signature(self, runner: SourceRunner) -> Signature:
        return source_signature(load_source(runner.path))

    @staticmethod
    def write(folder: Path, **arrays: Array) -> Path:
        np.savez(folder / "given.npz", **arrays)  # type: ignore[arg-type]  # numpy types its flag beside **arrays
        return folder / "given.npz"

    def test_they_are_answered_by_the_source(self, tmp_path: Path, signature: Signature, runner: SourceRunner) -> None:
        ids, mask = np.array([[1, 2, 3]]), np.array([[1, 0, 1]])
        (sample,) = read_samples(self.write(tmp_path, ids=ids, mask=mask), signature, runner)
        table = normal(10, 3)
        np.testing.assert_allclose(sample.outputs["y"], (table[1] + table[3])[None, None] / 2, rtol=1e-6)

    def test_missing_inputs_are_named_with_what_there_is(
        self, tmp_path: Path, signature: Signature, runner: SourceRunner
    ) -> None:
        with pytest.raises(UsageError) as caught:
            read_samples(self.write(tmp_path, image=normal(2)), signature, runner)
        (problem,) = caught.value.problems
        assert problem.message == "lacks inputs ids, mask"
        assert problem.hint == "it holds image"

    def test_what_is_not_an_input_is_left_aside(
        self, tmp_path: Path, signature: Signature, runner: SourceRunner
    ) -> None:
        ones = np.ones((2, 3), np.int64)
        path = self.write(tmp_path, ids=ones, mask=ones, y=normal(2, 1, 3))
        (sample,) = read_samples(path, signature, runner)
        assert set(sample.inputs) == {"ids", "mask"}

    def test_narrower_integers_are_widened(self, tmp_path: Path, signature: Signature, runner: SourceRunner) -> None:
        path = self.write(tmp_path, ids=np.ones((2, 3), np.int32), mask=np.ones((2, 3), np.uint8))
        (sample,) = read_samples(path, signature, runner)
        assert sample.inputs["ids"].dtype == sample.inputs["mask"].dtype == np.int64

    def test_every_type_and_shape_that_does_not_fit_is_named(
        self, tmp_path: Path, signature: Signature, runner: SourceRunner
    ) -> None:
        path = self.write(tmp_path, ids=normal(2, 3), mask=np.ones((2, 3, 4), np.int64))
        with pytest.raises(UsageError) as caught:
            read_samples(path, signature, runner)
        dtype, rank = caught.value.problems
        assert (dtype.subject, rank.subject) == ("ids", "mask")
        assert "float32" in dtype.message
        assert "3 dimensions" in rank.message

    def test_inputs_that_the_source_fails_on_are_an_error(
        self, tmp_path: Path, signature: Signature, runner: SourceRunner
    ) -> None:
        path = self.write(tmp_path, ids=np.full((2, 3), 99), mask=np.ones((2, 3), np.int64))
        with pytest.raises(RunError, match="ids:2x3"):
            read_samples(path, signature, runner)

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"text"])
    def test_a_file_that_is_no_npz_is_an_error(
        self, tmp_path: Path, signature: Signature, runner: SourceRunner, content: bytes
    ) -> None:
        path = tmp_path / "given.npz"
        path.write_bytes(content)
        with pytest.raises(BundleError, match=r"given\.npz"):
            read_samples(path, signature, runner)


@pytest.mark.parametrize(
    ("number", "dtype"),
    [(16, DType.BFLOAT16), (17, DType.FLOAT8_E4M3FN), (19, DType.FLOAT8_E5M2)],
)
def test_types_that_numpy_lacks_are_drawn_as_numbers(tmp_path: Path, number: int, dtype: DType) -> None:
    """Not as the integers that carry them: those would be NaN, or 1e38."""
    port = [helper.make_tensor_value_info(name, number, ["batch", 64]) for name in ("x", "y")]
    nodes = [helper.make_node("Cast", ["x"], ["wide"], to=1), helper.make_node("Cast", ["wide"], ["y"], to=number)]
    for sample in drawn(graph_model(nodes, port[:1], port[1:], opset=19), tmp_path):
        values = widened(sample.inputs["x"], dtype)
        assert sample.inputs["x"].dtype == dtype.numpy
        assert 0.5 < values.std() < 2
        assert abs(values).max() < 8
        assert np.array_equal(sample.outputs["y"], sample.inputs["x"])
