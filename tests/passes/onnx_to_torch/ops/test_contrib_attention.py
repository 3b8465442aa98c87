from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx_ir as ir
import pytest

from artifacts.errors import UnsupportedError
from passes.onnx_to_torch.importer import Importer
from tests.support.onnx_ops import Array, compare, export, run, sample
from tests.support.onnxruntime_models import answers
from tests.support.onnxruntime_ops import check_contrib, contrib_model

HEADS, SIZE = 2, 16
WIDTH = HEADS * SIZE


def row(length: int, seed: int = 0, batch: int = 2, heads: int = HEADS) -> Array:
    return sample((batch, length, heads * SIZE), seed=seed, low=-1, high=1)


def cache(length: int, seed: int = 0, batch: int = 2, heads: int = HEADS) -> Array:
    return sample((batch, heads, length, SIZE), seed=seed, low=-1, high=1)


MASKS: dict[str, Array | None] = {
    "none": None,
    "keys": np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.int32),
    "ends": np.array([3, 5], np.int32),
    "pairs": np.asarray(np.tril(np.ones((2, 5, 5), np.int32))),
}


@pytest.mark.parametrize("mask", list(MASKS))
@pytest.mark.parametrize("causal", [0, 1])
def test_attention_by_one_matrix(mask: str, causal: int) -> None:
    inputs = [sample((2, 5, 6)), sample((6, 3 * WIDTH), low=-1, high=1), sample((3 * WIDTH,)), MASKS[mask]]
    check_contrib("Attention", inputs, num_heads=HEADS, unidirectional=causal)


def test_attention_with_a_past() -> None:
    past = np.stack([cache(3), cache(3, seed=1)])
    inputs = [sample((2, 1, 6)), sample((6, 3 * WIDTH), low=-1, high=1), sample((3 * WIDTH,)), None, past]
    check_contrib("Attention", inputs, outputs=2, num_heads=HEADS, unidirectional=1)


@pytest.mark.parametrize("mask", ["none", "keys"])
@pytest.mark.parametrize("bias", [True, False])
def test_multi_head_attention(mask: str, bias: bool) -> None:
    extra = sample((3 * WIDTH,), low=-1, high=1) if bias else None
    inputs = [row(4), row(5, 1), row(5, 2), extra, MASKS[mask], sample((1, HEADS, 4, 5), seed=3)]
    check_contrib("MultiHeadAttention", inputs, num_heads=HEADS)
    check_contrib("MultiHeadAttention", [row(4), cache(5, 1), cache(5, 2)], num_heads=HEADS, scale=0.3)


def test_multi_head_attention_with_a_past_exports() -> None:
    def inputs(batch: int, length: int, past: int) -> list[Array | None]:
        rows = [row(length, seed, batch) for seed in range(3)]
        return [*rows, None, None, None, cache(past, 3, batch), cache(past, 4, batch)]

    check_contrib(
        "MultiHeadAttention",
        inputs(2, 3, 4),
        outputs=3,
        symbolic=inputs(3, 5, 2),
        num_heads=HEADS,
        unidirectional=1,
    )


def tables(length: int = 16) -> list[Array]:
    angles = np.arange(length)[:, None] * (0.5 ** np.arange(SIZE // 2))[None]
    return [np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)]


def grouped(length: int, past: int, heads: int = 4) -> list[Array | None]:
    """Queries with `heads` heads, keys with half of them; every row has the same past."""
    batch = 1 if past and length > 1 else 2  # as ONNX Runtime wants it
    rows = [row(length, 0, batch, heads), *(row(length, seed, batch, heads // 2) for seed in (1, 2))]
    caches = [cache(past, seed, batch, heads // 2) for seed in (3, 4)]
    total = length + past
    return [*rows, *caches, np.full(batch, total - 1, np.int32), np.array(total, np.int32), *tables()]


CASES: list[tuple[int, int, dict[str, Any]]] = [
    (5, 0, {}),
    (1, 4, {}),
    (3, 4, {}),
    (5, 0, {"local_window_size": 2}),
    (1, 4, {"softcap": 1.5, "scale": 0.7}),
    (1, 4, {"smooth_softmax": 1}),
    (3, 4, {"rotary_interleaved": 1}),
]


@pytest.mark.parametrize(("length", "past", "attributes"), CASES)
@pytest.mark.parametrize("rotary", [0, 1])
def test_group_query_attention(length: int, past: int, attributes: dict[str, Any], rotary: int) -> None:
    inputs = grouped(length, past)
    if not rotary:
        inputs[7:] = []
    numbers: dict[str, Any] = {"num_heads": 4, "kv_num_heads": 2, "do_rotary": rotary, **attributes}
    check_contrib("GroupQueryAttention", inputs, outputs=3, constants=(6,), **numbers)


def test_packed_queries_keys_and_values() -> None:
    inputs = grouped(3, 4)
    inputs[:3] = [np.concatenate([part for part in inputs[:3] if part is not None], -1), None, None]
    check_contrib("GroupQueryAttention", inputs, outputs=3, constants=(6,), num_heads=4, kv_num_heads=2, do_rotary=1)


def test_rows_of_unlike_length_are_written_after_their_own_past() -> None:
    inputs = grouped(1, 6)
    inputs[5], inputs[6] = np.array([2, 5], np.int32), np.array(6, np.int32)
    check_contrib("GroupQueryAttention", inputs, outputs=3, constants=(6,), num_heads=4, kv_num_heads=2, do_rotary=1)


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("interleaved", [0, 1])
def test_rotary_embedding(flat: bool, interleaved: int) -> None:
    data = row(5) if flat else cache(5)
    for positions in (np.array([2], np.int64), np.array([[0, 1, 2, 3, 4], [3, 4, 5, 6, 7]], np.int64)):
        check_contrib("RotaryEmbedding", [data, positions, *tables()], interleaved=interleaved)


def test_a_quantized_cache_is_refused() -> None:
    inputs = grouped(1, 4)
    model = contrib_model("GroupQueryAttention", inputs, {"num_heads": 4, "kv_num_heads": 2, "kv_cache_bit_width": 8})
    importer = Importer(ir.from_proto(model))
    with pytest.raises(UnsupportedError, match="a quantized cache"):
        run(importer, [array for array in inputs if array is not None])


def test_group_query_attention_exports_one_step_with_a_symbolic_past() -> None:
    first, second = grouped(1, 4), grouped(1, 7)
    model = contrib_model("GroupQueryAttention", first, {"num_heads": 4, "kv_num_heads": 2, "do_rotary": 1}, 3)
    # As files have it: the total is the size of an attention mask.
    shape = onnx.helper.make_node("Shape", ["mask"], ["sizes"])
    taken = onnx.helper.make_node("Gather", ["sizes", "one"], ["x6"])
    model.graph.node.insert(0, taken)
    model.graph.node.insert(0, shape)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(1, np.int64), "one"))
    narrow = onnx.helper.make_node("Cast", ["x6"], ["total"], to=onnx.TensorProto.INT32)
    model.graph.node.insert(2, narrow)
    model.graph.node[3].input[6] = "total"
    kept = [value for value in model.graph.input if value.name != "x6"]
    del model.graph.input[:]
    mask = onnx.helper.make_tensor_value_info("mask", onnx.TensorProto.INT64, ["n", "total_length"])
    model.graph.input.extend([*kept, mask])

    def arrays(inputs: list[Array | None], total: int) -> list[Array]:
        given = [array for i, array in enumerate(inputs) if i != 6 and array is not None]
        return [*given, np.ones((2, total), np.int64)]

    one, other = arrays(first, 5), arrays(second, 8)
    exported = export(Importer(ir.from_proto(model)), one, other).module()
    for given in (one, other):
        compare(run(exported, given), answers(model, given), 2e-5)
