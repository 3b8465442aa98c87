from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from onnx import TensorProto, helper

from artifacts.bundle import Bundle
from artifacts.dtype import DType
from artifacts.engines import open_engine
from artifacts.errors import BundleError, RunError
from artifacts.host_cache import CACHE_VARIABLE
from artifacts.manifest import Access, EngineEntry, Scalar, WeightAccess
from artifacts.prepacked import ENGINE_FILE, KIND
from artifacts.spec import Signature
from artifacts.weight_places import is_aligned
from tests.support import bundles
from tests.support.bundles import Graph, spec
from tests.support.models import PROJECT

Array = npt.NDArray[Any]

WIDTH = 48
X = np.random.default_rng(1).standard_normal((3, WIDTH), np.float32)
WAYS: tuple[Access, ...] = ("prepacked", "mapped", "cached")


def layers(seed: int) -> Graph:
    """A product with a bias, a convolution, and products in a loop and in a branch with weights from around them."""
    draw = np.random.default_rng(seed)

    def weight(*shape: int) -> Array:
        return draw.standard_normal(shape, np.float32) / np.float32(shape[-1]) ** 0.5

    weights = {
        "first": weight(WIDTH, WIDTH),
        "bias": weight(WIDTH),
        "kernel": weight(16, 1, 3, 3),
        "repeated": weight(WIDTH, WIDTH),
        "chosen": weight(16 * WIDTH, WIDTH),
    }
    loop = helper.make_graph(
        [
            helper.make_node("MatMul", ["carried", "repeated"], ["product"]),
            helper.make_node("Tanh", ["product"], ["carried_out"]),
            helper.make_node("Identity", ["going"], ["going_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("going_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried_out", TensorProto.FLOAT, None),
        ],
    )
    output = [helper.make_tensor_value_info("branch", TensorProto.FLOAT, None)]
    then = helper.make_graph([helper.make_node("MatMul", ["flat", "chosen"], ["branch"])], "then", [], output)
    other = helper.make_graph([helper.make_node("MatMul", ["looped", "first"], ["branch"])], "other", [], output)
    nodes = [
        helper.make_node("Gemm", ["x", "first", "bias"], ["hidden"]),
        helper.make_node("Constant", [], ["turns"], value_int=3),
        helper.make_node("Constant", [], ["axes"], value_ints=[1, 2]),
        helper.make_node("Constant", [], ["rows"], value_ints=[-1, 16 * WIDTH]),
        helper.make_node("Loop", ["turns", "", "hidden"], ["looped"], body=loop),
        helper.make_node("Unsqueeze", ["looped", "axes"], ["image"]),
        helper.make_node("Conv", ["image", "kernel"], ["maps"], pads=[1, 1, 1, 1]),
        helper.make_node("Reshape", ["maps", "rows"], ["flat"]),
        helper.make_node("ReduceMax", ["x"], ["highest"], keepdims=0),
        helper.make_node("Constant", [], ["nothing"], value_float=0.0),
        helper.make_node("Greater", ["highest", "nothing"], ["positive"]),
        helper.make_node("If", ["positive"], ["y"], then_branch=then, else_branch=other),
    ]
    shape = ("n", WIDTH)
    signature = Signature(inputs=(spec("x", DType.FLOAT32, *shape),), outputs=(spec("y", DType.FLOAT32, *shape),))
    return Graph(nodes, signature, weights)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / KIND


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    models = {"m": bundles.single(layers(1)), "n": bundles.single(layers(2))}
    return bundles.write(tmp_path_factory.mktemp("layers") / "bundle", models)


def answers(bundle: Bundle, weights: Access | None, entry: EngineEntry | None = None) -> tuple[Array, Array]:
    """With the branch that is taken for values above zero, and with the other."""
    runner = open_engine(bundle.root, entry or bundle.manifest.engines["m-main"], weights=weights)
    found = [runner.call({"x": x})["y"] for x in (X, -np.abs(X))]
    runner.close()
    return found[0], found[1]


def changed(bundle: Bundle, **fields: object) -> EngineEntry:
    return bundle.manifest.engines["m-main"].model_copy(update=fields)


@pytest.mark.parametrize("level", ["disable", "basic", "extended", "all"])
def test_engines_answer_the_same_however_they_take_their_weights(bundle: Bundle, level: Scalar) -> None:
    entry = changed(bundle, session={"intra_op_num_threads": 1, "graph_optimization_level": level})
    found = {way: answers(bundle, way, entry) for way in WAYS}
    for number in range(2):
        np.testing.assert_array_equal(found["cached"][number], found["prepacked"][number])
        np.testing.assert_allclose(found["mapped"][number], found["prepacked"][number], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(answers(bundle, "cached", entry), found["cached"])


ODD = (48, 293, 307, 293, 48)
"""Widths whose products are no multiples of 64 bytes either."""


def narrowing(*widths: int) -> Graph:
    """Products and sums of these widths, one after the other."""
    draw = np.random.default_rng(7)
    nodes, weights = [], dict[str, Array]()
    for number, (before, after) in enumerate(itertools.pairwise(widths)):
        weights |= {f"w{number}": draw.standard_normal((before, after), np.float32) / np.float32(before)}
        weights |= {f"b{number}": draw.standard_normal(after, np.float32)}
        value = "x" if number == 0 else f"v{number}"
        last = number == len(widths) - 2
        nodes.append(helper.make_node("MatMul", [value, f"w{number}"], [f"p{number}"]))
        nodes.append(helper.make_node("Add", [f"p{number}", f"b{number}"], ["y" if last else f"v{number + 1}"]))
    inputs, outputs = (spec("x", DType.FLOAT32, "n", widths[0]),), (spec("y", DType.FLOAT32, "n", widths[-1]),)
    return Graph(nodes, Signature(inputs=inputs, outputs=outputs), weights)


@pytest.mark.parametrize("widths", [(48, 293, 48, 293, 48), ODD])
def test_packed_weights_lie_where_kernels_can_read_them(cache: Path, tmp_path: Path, widths: tuple[int, ...]) -> None:
    """Biases of 293 elements are no multiple of 64 bytes, and are written in front of packed weights."""
    bundle = bundles.write(tmp_path / "bundle", {"m": bundles.single(narrowing(*widths))})
    found, expected = answers(bundle, "cached"), answers(bundle, "prepacked")
    np.testing.assert_array_equal(found, expected)
    (engine,) = cache.rglob(ENGINE_FILE)
    assert is_aligned(engine)


def test_an_engine_whose_packed_weights_cannot_be_aligned_is_refused(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("artifacts.prepacked.align", lambda _engine, _weights: False)
    bundle = bundles.write(tmp_path / "bundle", {"m": bundles.single(narrowing(*ODD))})
    with pytest.raises(RunError, match="addresses where its kernels cannot read them") as caught:
        answers(bundle, "cached")
    assert "mapped or prepacked" in caught.value.problems[0].hint
    assert not list(cache.iterdir())


def test_nothing_is_cached_unless_that_is_asked_for(bundle: Bundle, cache: Path) -> None:
    ways: tuple[Access | None, ...] = (None, "prepacked", "mapped")
    for way in ways:
        answers(bundle, way)
    assert not cache.exists()
    access = WeightAccess(default="cached", ways={"cached": "nothing"})
    answers(bundle, None, changed(bundle, weights=access))
    assert len(list(cache.iterdir())) == 1


def test_a_way_that_an_engine_does_not_have_is_refused_with_those_it_has(bundle: Bundle) -> None:
    access = WeightAccess(default="prepacked", ways={"prepacked": "all", "cached": "nothing"})
    with pytest.raises(RunError, match="cannot run with mapped weights") as caught:
        answers(bundle, "mapped", changed(bundle, weights=access))
    assert "cached, prepacked" in caught.value.problems[0].hint


def test_other_weights_and_other_options_are_cached_apart(bundle: Bundle, cache: Path) -> None:
    entries: Mapping[str, EngineEntry] = bundle.manifest.engines
    for entry in (*entries.values(), changed(bundle, session={"enable_mem_pattern": False})):
        found, expected = answers(bundle, "cached", entry), answers(bundle, "prepacked", entry)
        np.testing.assert_array_equal(found, expected)
    assert len(list(cache.iterdir())) == 3


def test_a_copy_of_the_bundle_uses_the_same_cache(bundle: Bundle, cache: Path, tmp_path: Path) -> None:
    answers(bundle, "cached")
    (made,) = cache.iterdir()
    before = made.stat().st_mtime_ns
    copy = Bundle.open(shutil.copytree(bundle.root, tmp_path / "copy"))
    shutil.rmtree(copy.root / "weights")  # all that an engine needs is in the cache
    np.testing.assert_array_equal(answers(copy, "cached"), answers(bundle, "prepacked"))
    assert made.stat().st_mtime_ns == before


def test_any_damaged_byte_is_found(bundle: Bundle, cache: Path) -> None:
    expected = answers(bundle, "cached")
    (made,) = cache.iterdir()
    weights = made / "weights.bin"
    size = weights.stat().st_size
    for place in (0, size // 3, size // 2, size - 1):
        data = bytearray(weights.read_bytes())
        data[place] ^= 0x40
        weights.write_bytes(bytes(data))
        np.testing.assert_array_equal(answers(bundle, "cached"), expected)


def test_damaged_weights_of_a_bundle_get_into_no_cache(bundle: Bundle, cache: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(bundle.root, tmp_path / "copy"))
    (shard,) = (root / "weights").iterdir()
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(bytes(data))
    with pytest.raises(BundleError, match="digest"):
        answers(Bundle.open(root, verify=False), "cached")
    assert not list(cache.iterdir())


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
from artifacts.bundle import Bundle
from artifacts.engines import open_engine
from artifacts.errors import UnspoolError
bundle = Bundle.open(sys.argv[1])
try:
    open_engine(bundle.root, bundle.manifest.engines["m-main"], weights="cached")
except UnspoolError as error:
    print(error)
"""


@pytest.mark.parametrize("missing", [1, 30_000])
def test_a_disk_that_is_full_on_the_way_is_one_error_and_leaves_nothing(
    bundle: Bundle, cache: Path, missing: int
) -> None:
    answers(bundle, "cached")
    (made,) = cache.iterdir()
    limit = (made / "weights.bin").stat().st_size - missing
    shutil.rmtree(made)
    command = [sys.executable, "-c", LIMITED, str(bundle.root), str(limit)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("hint: ") == 1
    assert f"set {CACHE_VARIABLE} to another folder" in done.stdout
    assert not list(cache.iterdir())
