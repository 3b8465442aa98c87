from __future__ import annotations

import io
import warnings
from collections.abc import Mapping

import numpy as np
import pytest
import torch

from passes.bodies import copied_graph, dims, edited, with_weights
from passes.interpreter import call
from tests.support.programs import PROGRAMS, attention_inputs, normal


@pytest.mark.parametrize("sizes", [(2, 5), (3, 9)])
def test_a_body_with_its_weights_is_what_torch_saves_and_calls(sizes: tuple[int, int]) -> None:
    program = PROGRAMS["attention"]()
    whole = with_weights(program.functions["main"], program.weights)
    file = io.BytesIO()
    torch.export.save(whole, file)
    file.seek(0)
    inputs = attention_inputs(*sizes)
    expected = call(program, "main", inputs)["logits"]
    for exported in (whole, torch.export.load(file)):
        (logits,) = exported.module()(*map(torch.from_numpy, inputs.values()))
        np.testing.assert_allclose(logits.numpy(), expected.astype(float), rtol=1e-5, atol=1e-5)


def test_a_body_itself_holds_no_data() -> None:
    for make in PROGRAMS.values():
        for function in make().functions.values():
            held: Mapping[str, object] = {**function.body.state_dict, **function.body.constants}
            assert all(isinstance(tensor, torch._subclasses.FakeTensor) for tensor in held.values())


def test_a_copied_graph_is_another_graph_of_the_same_names() -> None:
    body = PROGRAMS["attention"]().functions["main"].body
    graph, mapping = copied_graph(body)
    assert [node.name for node in graph.nodes] == [node.name for node in body.graph.nodes]
    assert not set(graph.nodes) & set(body.graph.nodes)
    assert [mapping[node] for node in body.graph.nodes] == list(graph.nodes)


def test_a_node_added_to_a_copy_gets_a_name_of_its_own() -> None:
    body = PROGRAMS["attention"]().functions["main"].body
    graph, _ = copied_graph(body)
    names = {node.name for node in graph.nodes}
    last = next(iter(reversed(graph.nodes)))
    with graph.inserting_before(last):
        added = [graph.call_function(torch.ops.aten.matmul.default) for _ in range(2)]
    assert len({node.name for node in added}) == 2
    assert not {node.name for node in added} & names


def test_an_edited_body_refuses_a_graph_that_uses_a_value_before_it_is_made() -> None:
    body = PROGRAMS["tied_perceptron"]().functions["main"].body
    graph, _ = copied_graph(body)
    relu = next(node for node in graph.nodes if node.target is torch.ops.aten.relu.default)
    next(node for node in graph.nodes if node.op == "placeholder").prepend(relu)
    with pytest.raises(RuntimeError, match="before it has been defined"):
        edited(body, graph)


def test_a_new_placeholder_is_an_input_unless_it_is_marked_as_a_weight() -> None:
    body = PROGRAMS["tied_perceptron"]().functions["main"].body
    graph, _ = copied_graph(body)
    first = next(iter(graph.nodes))
    with graph.inserting_before(first):
        for name in ("more", "extra"):
            graph.placeholder(name).meta = {"val": first.meta["val"], **({"weight": True} if name == "more" else {})}
    signature = edited(body, graph).graph_signature
    assert "more" in signature.inputs_to_buffers
    assert "extra" in signature.user_inputs


def test_dims_are_numbers_names_and_expressions() -> None:
    function = PROGRAMS["shape_arithmetic"]().functions["main"]
    result = function.results[0]
    assert isinstance(result, torch.fx.Node)
    assert dims(result.meta["val"], function.symbols) == ("2*batch*seq", 6)
    assert dims(torch.empty(3, 0), {}) == (3, 0)
    unnamed = dims(result.meta["val"], {})
    assert unnamed[0] != "2*batch*seq"


def test_saving_needs_no_sample_and_gives_no_warning() -> None:
    program = PROGRAMS["filled_convolution"]()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        module = with_weights(program.functions["main"], program.weights).module()
    image = normal(4, 3, 7, 5)
    expected = call(program, "main", {"image": image})["scores"]
    np.testing.assert_allclose(module(torch.from_numpy(image))[0].numpy(), expected.astype(float), rtol=1e-5)
