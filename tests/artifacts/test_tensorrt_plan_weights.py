from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from artifacts.tensorrt_plan_weights import SMALL_BYTES, HeldWeights, find_weights
from artifacts.weights import Array
from tests.support.models import floats, graph_model, normal
from tests.support.tensorrt import plan_of

MATRIX = normal(64, 48)


def held(plan: bytes, **weights: Array) -> HeldWeights:
    return find_weights(plan, weights)[0]


def test_a_matrix_that_two_products_share_lies_in_a_real_plan_once_as_it_is() -> None:
    weight = normal(64, 64)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w"], ["y"]),
    ]
    plan = plan_of(graph_model(nodes, [floats("x", 4, 64)], [floats("y", 4, 64)], {"w": weight}), "sm89")
    found = held(plan, w=weight)
    assert (found.once_bytes, found.held_bytes, found.repeated) == (weight.nbytes, weight.nbytes, {})


def test_a_kernel_of_a_convolution_is_turned_in_a_real_plan() -> None:
    weight = normal(16, 8, 3, 3)
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])]
    model = graph_model(nodes, [floats("x", 1, 8, 16, 16)], [floats("y", 1, 16, 16, 16)], {"w": weight})
    found = held(plan_of(model, "sm89"), w=weight)
    assert (found.turned_bytes, found.once_bytes, found.other_bytes) == (weight.nbytes, 0, 0)


def test_a_matrix_that_is_multiplied_before_is_not_in_a_real_plan() -> None:
    weight, factor = normal(64, 64), np.array(2, np.float32)
    nodes = [helper.make_node("Mul", ["w", "f"], ["twice"]), helper.make_node("MatMul", ["x", "twice"], ["y"])]
    model = graph_model(nodes, [floats("x", 4, 64)], [floats("y", 4, 64)], {"w": weight, "f": factor})
    found = held(plan_of(model, "sm89"), w=weight, f=factor)
    assert (found.other_bytes, found.small_bytes, found.bytes) == (weight.nbytes, 4, weight.nbytes + 4)


def test_every_copy_counts() -> None:
    data = MATRIX.tobytes()
    found = held(b"a" + data + b"bc" + data + data, w=MATRIX)
    assert (found.once_bytes, found.held_bytes, found.repeated) == (len(data), 3 * len(data), {"w": 3})


def test_a_transposed_matrix_is_turned() -> None:
    found = held(b"ab" + MATRIX.T.tobytes(), w=MATRIX)
    assert (found.turned_bytes, found.held_bytes, found.other_bytes) == (MATRIX.nbytes, 0, 0)


def test_matrices_side_by_side_are_joined() -> None:
    query, key, value = (normal(64, 64, seed=seed) for seed in range(3))
    found, pieces = find_weights(
        b"abc" + np.hstack([query, key, value.T]).tobytes(), {"q": query, "k": key, "v": value}
    )
    assert (found.joined_bytes, found.other_bytes) == (3 * query.nbytes, 0)
    assert pieces.tolist() == [[3, 3 + 3 * query.nbytes]]


def test_rows_that_are_padded_are_joined() -> None:
    found, pieces = find_weights(np.pad(MATRIX, [(0, 0), (0, 8)]).tobytes(), {"w": MATRIX})
    assert found.joined_bytes == int((pieces[:, 1] - pieces[:, 0]).sum()) == MATRIX.nbytes


def test_one_row_that_differs_is_another_matrix() -> None:
    other = MATRIX.copy()
    other[40, 3] += 1
    assert held(np.hstack([other, other]).tobytes(), w=MATRIX).other_bytes == MATRIX.nbytes


def test_one_content_is_looked_for_once() -> None:
    found = held(MATRIX.tobytes(), a=MATRIX, b=MATRIX.reshape(-1), c=MATRIX + 1)
    assert (found.tensors, found.bytes, found.once_bytes) == (2, 2 * MATRIX.nbytes, MATRIX.nbytes)


def test_a_slice_that_lies_in_its_whole_covers_no_more() -> None:
    found, pieces = find_weights(MATRIX.tobytes(), {"whole": MATRIX, "rows": MATRIX[:10]})
    assert found.held_bytes == MATRIX.nbytes + MATRIX[:10].nbytes
    assert pieces.tolist() == [[0, MATRIX.nbytes]]


@st.composite
def repetitive(draw: st.DrawFn) -> bytes:
    """A few bytes again and again, with one of them perhaps another: what makes a search compare too much."""
    size = draw(st.integers(SMALL_BYTES + 1, 700))
    data = bytearray(draw(st.binary(min_size=1, max_size=300)) * size)[:size]
    for place in draw(st.lists(st.integers(0, size - 1), max_size=2)):
        data[place] ^= 1
    return bytes(data)


@given(st.lists(repetitive(), min_size=1, max_size=3), st.data())
def test_as_many_copies_as_python_counts(needles: list[bytes], data: st.DataObject) -> None:
    parts = st.one_of(st.sampled_from(needles), st.binary(max_size=20), st.sampled_from([n[:-1] for n in needles]))
    plan = b"".join(data.draw(st.lists(parts, max_size=12)))
    weights = {str(number): np.frombuffer(needle, np.uint8) for number, needle in enumerate(dict.fromkeys(needles))}
    found, pieces = find_weights(plan, weights)
    counts = {name: plan.count(array.tobytes()) for name, array in weights.items()}
    assert found.held_bytes == sum(weights[name].nbytes * count for name, count in counts.items())
    assert found.once_bytes == sum(weights[name].nbytes for name, count in counts.items() if count)
    assert found.repeated == {name: count for name, count in counts.items() if count > 1}
    assert found.other_bytes == found.bytes - found.once_bytes
    assert all(begin < end for begin, end in pieces.tolist())
    assert all(end < begin for end, begin in zip(pieces[:-1, 1], pieces[1:, 0], strict=True))
