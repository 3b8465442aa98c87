"""Inf1's documents against a module: what is in neither list, and what has limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402 - JAX is an extra

from compiler.neuron.inf1_operators import ATEN, XLA  # noqa: E402
from compiler.neuron.inf1_preflight import inf1_preflight  # noqa: E402
from tests.compiler.neuron.test_preflight import module, text_module  # noqa: E402

F32 = jax.ShapeDtypeStruct((4, 8), jnp.float32)
I32 = jax.ShapeDtypeStruct((3,), jnp.int32)


def found(data: bytes, *, fallback: bool = True) -> list[tuple[str, str]]:
    return [(finding.severity, finding.message) for finding in inf1_preflight(fallback=fallback)(data)]


def test_a_plain_module_has_nothing() -> None:
    assert not found(module(lambda x: jax.nn.softmax(x @ x.T), F32), fallback=False)


def test_an_operator_in_neither_list_is_left_to_the_host_or_refused() -> None:
    def call(x: Any) -> Any:
        with jax.named_scope("my.round"):
            return jnp.round(x)

    data = module(call, F32)
    (finding,) = inf1_preflight(fallback=False)(data)
    assert (finding.severity, finding.source) == ("error", "my.round")
    assert finding.message.startswith("round-nearest-even is not in AWS's list of XLA operators for Inf1")
    assert [severity for severity, _ in found(data)] == ["warning"]


def test_a_convolution_is_in_the_other_list() -> None:
    image, kernel = jax.ShapeDtypeStruct((1, 2, 8, 8), jnp.float32), jax.ShapeDtypeStruct((3, 2, 3, 3), jnp.float32)
    data = module(lambda x, w: jax.lax.conv(x, w, (1, 1), "VALID"), image, kernel)
    ((severity, message),) = found(data, fallback=False)
    assert severity == "warning"
    assert message.endswith("torch-neuron's release notes name aten::_convolution")


def test_the_lists_are_apart() -> None:
    assert not XLA & set(ATEN)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x, i: jax.lax.dynamic_update_slice(x, x[:1], (i[0], 0)), "updates a slice whose place is computed"),
        (lambda x, _: jax.lax.dynamic_update_slice(x, x[:1], (1, 0)), ""),
        (lambda x, i: x[i], ""),
        (lambda x, i: jax.lax.dynamic_slice(x, (i[0], 0), (2, 8)), "dynamic-slice is not in"),
        (lambda x, _: x**x, "raises to a power that is no constant whole number"),
        (lambda x, _: jax.lax.pow(x, jnp.float32(3)), ""),
        (lambda x, _: jax.lax.pow(x, jnp.float32(0.5)), "raises to a power that is no constant whole number"),
        (lambda x, _: jnp.argmax(x, 1), "reduces by several operations"),
        (lambda x, _: jnp.all(x > 0), "reduces by and"),
        (lambda x, _: jax.lax.reduce(x, x[0, 0], jax.lax.add, (1,)), "reduces from a value that is computed"),
        (lambda x, _: jnp.abs(x.astype(jnp.complex64)), "complex numbers are not supported"),
    ],
)
def test_a_documented_limit_is_told(call: Callable[..., Any], said: str) -> None:
    messages = [message for _, message in found(module(call, F32, I32))]
    assert any(message.startswith(said) for message in messages) if said else not messages


def test_gathers_and_what_jax_would_not_write() -> None:
    text = """
HloModule planted
ENTRY main {
  x = f32[4,8]{1,0} parameter(0)
  i = s32[3,1]{1,0} parameter(1)
  wide = f64[4]{0} parameter(2)
  open = f32[<=4]{0} parameter(3)
  rows = f32[3,8]{1,0} gather(x, i), offset_dims={1}, collapsed_slice_dims={0}, start_index_map={0}, \
index_vector_dim=1, slice_sizes={1,8}
  pieces = f32[3,2,8]{2,1,0} gather(x, i), offset_dims={1,2}, collapsed_slice_dims={}, start_index_map={0}, \
index_vector_dim=1, slice_sizes={2,8}
  ROOT all = (f32[3,8]{1,0}, f32[3,2,8]{2,1,0}, f64[4]{0}, f32[<=4]{0}) tuple(rows, pieces, wide, open)
}
"""
    findings = inf1_preflight(fallback=True)(text_module(text))
    assert {each.instruction for each in findings if each.message.startswith("gathers")} == {"pieces"}
    assert {each.instruction for each in findings if each.message == "float64 is not supported"} >= {"wide"}
    assert {each.instruction for each in findings if each.message == "a size is dynamic"} >= {"open"}
