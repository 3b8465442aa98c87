"""What is planted in a module is found in it, by its code and where it came from."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402 - JAX is an extra

from compiler.hlo.instructions import count_instructions, instructions  # noqa: E402
from compiler.neuron.preflight import preflight  # noqa: E402

F32 = jax.ShapeDtypeStruct((4, 8), jnp.float32)
I32 = jax.ShapeDtypeStruct((4, 8), jnp.int32)


def module(call: Callable[..., Any], *shapes: Any) -> bytes:
    lowered = jax.jit(call).lower(*shapes)
    return bytes(lowered.compiler_ir("hlo").as_serialized_hlo_module_proto())


def text_module(text: str) -> bytes:
    hlo: Any = importlib.import_module("jaxlib._hlo")
    return bytes(hlo.hlo_module_from_text(text).as_serialized_hlo_module_proto())


def codes(data: bytes) -> list[tuple[str, str]]:
    return [(finding.severity, finding.code) for finding in preflight(data)]


def test_a_plain_module_has_nothing() -> None:
    assert not preflight(module(lambda x: jax.nn.softmax(x @ x.T), F32))


def test_what_is_found_names_the_node_it_came_from() -> None:
    def call(x: Any) -> Any:
        with jax.named_scope("my.sort"):
            return jnp.sort(x)

    (found,) = preflight(module(call, F32))
    assert (found.severity, found.code, found.source) == ("error", "NCC_EVRF001", "my.sort")
    assert "source node 'my.sort'" in str(found)


@pytest.mark.parametrize(
    ("call", "shape", "code"),
    [
        (lambda x: jax.lax.linalg.cholesky(x @ x.T), F32, "NCC_EVRF015"),
        (lambda x: jnp.abs(jnp.fft.fft(x)), F32, "NCC_EVRF001"),
        (lambda x: jnp.abs(x.astype(jnp.complex64)), F32, "NCC_EVRF004"),
        (lambda x: x @ x.T, I32, "NCC_EVRF035"),
        (lambda x: jnp.zeros((9, 8), jnp.int32).at[x[:, 0]].add(x), I32, "NCC_EVRF060"),
        (lambda x: jax.lax.while_loop(lambda y: y.sum() < 9, lambda y: y + 1, x), F32, ""),
        (
            lambda x: jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2), (1, 1), "VALID", (1, 1), (1, 2)),
            F32,
            "NCC_EVRF018",
        ),
        (
            lambda x: jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2), (1, 1), "VALID", (1, 2)),
            F32,
            "NCC_EVRF017",
        ),
        (lambda x: jnp.argmax(x, 1), F32, ""),
    ],
    ids=["cholesky", "fft", "complex", "integer dot", "integer scatter", "while", "window", "base", "pairs"],
)
def test_a_documented_rule_finds_what_it_is_of(call: Callable[..., Any], shape: Any, code: str) -> None:
    assert code in [found for _, found in codes(module(call, shape))]


def test_a_scatter_that_overwrites_computes_nothing() -> None:
    assert not codes(module(lambda x: jnp.zeros((9, 8), jnp.int32).at[x[:, 0]].set(x), I32))


def test_dilations_of_convolutions_are_found() -> None:
    image, kernel = jax.ShapeDtypeStruct((1, 2, 8, 8), jnp.float32), jax.ShapeDtypeStruct((3, 2, 3, 3), jnp.float32)

    def convolve(stride: int, base: int, window: int) -> Callable[..., Any]:
        return lambda x, w: jax.lax.conv_general_dilated(
            x, w, (stride, stride), [(0, 0), (0, 0)], lhs_dilation=(base, base), rhs_dilation=(window, window)
        )

    assert codes(module(convolve(1, 2, 2), image, kernel)) == [("error", "NCC_EVRF010")]
    assert codes(module(convolve(2, 2, 1), image, kernel)) == [("error", "NCC_EVRF011")]
    assert not codes(module(convolve(2, 1, 1), image, kernel))


def test_what_jax_would_not_write_is_found_too() -> None:
    text = """
HloModule planted
ENTRY main {
  x = f64[4]{0} parameter(0)
  wide = s64[2]{0} constant({5, 4294967296})
  fits = s64[2]{0} constant({5, -7})
  open = f32[<=4]{0} parameter(1)
  called = f32[<=4]{0} custom-call(open), custom_call_target="Unheard"
  known = f32[<=4]{0} custom-call(open), custom_call_target="AwsNeuronGelu"
  scores = s32[4]{0} parameter(2)
  chosen = (s32[2]{0}, s32[2]{0}) custom-call(scores), custom_call_target="AwsNeuronTopK"
  ROOT all = (f64[4]{0}, s64[2]{0}, s64[2]{0}, f32[<=4]{0}, f32[<=4]{0}) tuple(x, wide, fits, called, known)
}
"""
    found = {(finding.instruction, finding.code) for finding in preflight(text_module(text))}
    assert ("x", "NCC_ESPP004") in found
    assert ("wide", "NCC_ESFH002") in found
    assert ("open", "NCC_EMOD025") in found
    assert ("called", "NCC_EVRF015") in found
    assert ("chosen", "NCC_EVRF013") in found
    assert not any(code in {"NCC_ESFH002", "NCC_EVRF015"} for name, code in found if name in {"fits", "known"})


def test_instructions_are_counted_without_parameters_and_constants() -> None:
    data = module(lambda x: jnp.tanh(x) * 2 + 1, F32)
    opcodes = [found.opcode for found in instructions(data)]
    assert {"tanh", "multiply", "add", "parameter", "constant"} <= set(opcodes)
    assert count_instructions(data) == sum(opcode not in {"parameter", "constant", "tuple"} for opcode in opcodes)
    with pytest.raises(ValueError, match=r"."):
        list(instructions(b"no module"))
