"""Operators on elements, with broadcasting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import torch

from compiler.hlo.registry import lowers

_aten = torch.ops.aten

_UNARY: Mapping[str, Callable[[Any], Any]] = {
    "abs": jnp.abs,
    "neg": jnp.negative,
    "exp": jnp.exp,
    "exp2": jnp.exp2,
    "expm1": jnp.expm1,
    "log": jnp.log,
    "log2": jnp.log2,
    "log10": jnp.log10,
    "log1p": jnp.log1p,
    "sqrt": jnp.sqrt,
    "rsqrt": jax.lax.rsqrt,
    "reciprocal": jnp.reciprocal,
    "sin": jnp.sin,
    "cos": jnp.cos,
    "tan": jnp.tan,
    "asin": jnp.arcsin,
    "acos": jnp.arccos,
    "atan": jnp.arctan,
    "sinh": jnp.sinh,
    "cosh": jnp.cosh,
    "tanh": jnp.tanh,
    "asinh": jnp.arcsinh,
    "acosh": jnp.arccosh,
    "atanh": jnp.arctanh,
    "erf": jax.scipy.special.erf,
    "sigmoid": jax.nn.sigmoid,
    "silu": jax.nn.silu,
    "ceil": jnp.ceil,
    "floor": jnp.floor,
    "trunc": jnp.trunc,
    "round": jnp.round,  # half to even, as torch
    "sign": jnp.sign,
    "isnan": jnp.isnan,
    "isinf": jnp.isinf,
    "logical_not": jnp.logical_not,
    "bitwise_not": jnp.bitwise_not,
    "hardswish": jax.nn.hard_swish,
    "hardsigmoid": jax.nn.hard_sigmoid,
    "mish": lambda x: x * jnp.tanh(jax.nn.softplus(x)),
    "log_sigmoid": jax.nn.log_sigmoid,
    "relu": lambda x: jnp.maximum(x, jnp.zeros((), x.dtype)),
    "relu6": lambda x: jnp.clip(x, 0, 6),
    "selu": jax.nn.selu,
    "square": jnp.square,
}

_BINARY: Mapping[str, Callable[[Any, Any], Any]] = {
    "mul": jnp.multiply,
    "maximum": jnp.maximum,
    "minimum": jnp.minimum,
    "atan2": jnp.arctan2,
    "pow": jnp.power,
    "fmod": jnp.fmod,
    "remainder": jnp.remainder,
    "eq": jnp.equal,
    "ne": jnp.not_equal,
    "lt": jnp.less,
    "le": jnp.less_equal,
    "gt": jnp.greater,
    "ge": jnp.greater_equal,
    "logical_and": jnp.logical_and,
    "logical_or": jnp.logical_or,
    "logical_xor": jnp.logical_xor,
    "bitwise_and": jnp.bitwise_and,
    "bitwise_or": jnp.bitwise_or,
    "bitwise_xor": jnp.bitwise_xor,
}


def _takes_tensors(overload: Any) -> bool:
    return any(str(argument.type) == "Tensor" for argument in overload._schema.arguments)


def _register() -> None:
    for name, function in _UNARY.items():
        packet = getattr(_aten, name, None)
        if packet is not None:
            lowers(packet.default)(function)
    for name, of_two in _BINARY.items():
        packet = getattr(_aten, name)
        named = ("default", "Tensor", "Scalar", "Tensor_Tensor", "Tensor_Scalar")
        overloads = [getattr(packet, overload) for overload in named if overload in packet.overloads()]
        lowers(*filter(_takes_tensors, overloads))(of_two)


_register()


@lowers(_aten.add.Tensor, _aten.add.Scalar)
def _add(x: Any, y: Any, alpha: Any = 1) -> Any:
    return jnp.add(x, y if alpha == 1 else jnp.multiply(y, alpha))


@lowers(_aten.sub.Tensor, _aten.sub.Scalar)
def _sub(x: Any, y: Any, alpha: Any = 1) -> Any:
    return jnp.subtract(x, y if alpha == 1 else jnp.multiply(y, alpha))


@lowers(_aten.rsub.Scalar, _aten.rsub.Tensor)
def _rsub(x: Any, y: Any, alpha: Any = 1) -> Any:
    return _sub(y, x, alpha)


@lowers(_aten.div.Tensor, _aten.div.Scalar)
def _div(x: Any, y: Any) -> Any:
    return jnp.true_divide(x, y)


@lowers(_aten.div.Tensor_mode, _aten.div.Scalar_mode)
def _div_mode(x: Any, y: Any, rounding_mode: str | None = None) -> Any:
    if rounding_mode == "floor":
        return jnp.floor_divide(x, y)
    if rounding_mode == "trunc":
        whole = jnp.issubdtype(jnp.result_type(x), jnp.integer) and jnp.issubdtype(jnp.result_type(y), jnp.integer)
        return jax.lax.div(*jnp.broadcast_arrays(x, jnp.asarray(y, x.dtype))) if whole else jnp.trunc(x / y)
    return jnp.true_divide(x, y)


@lowers(_aten.floor_divide.default)
def _floor_divide(x: Any, y: Any) -> Any:
    return jnp.floor_divide(x, y)


@lowers(_aten.where.self, _aten.where.ScalarOther, _aten.where.ScalarSelf, _aten.where.Scalar)
def _where(condition: Any, x: Any, y: Any) -> Any:
    return jnp.where(condition, x, y)


@lowers(_aten.masked_fill.Scalar, _aten.masked_fill.Tensor)
def _masked_fill(x: Any, mask: Any, value: Any) -> Any:
    return jnp.where(mask, jnp.asarray(value, x.dtype), x)


@lowers(_aten.clamp.default, _aten.clamp.Tensor, _aten.hardtanh.default)
def _clamp(x: Any, least: Any = None, most: Any = None) -> Any:
    x = x if least is None else jnp.maximum(x, jnp.asarray(least, x.dtype))
    return x if most is None else jnp.minimum(x, jnp.asarray(most, x.dtype))


@lowers(_aten.clamp_min.default)
def _clamp_min(x: Any, least: Any) -> Any:
    return jnp.maximum(x, jnp.asarray(least, x.dtype))


@lowers(_aten.clamp_max.default)
def _clamp_max(x: Any, most: Any) -> Any:
    return jnp.minimum(x, jnp.asarray(most, x.dtype))


@lowers(_aten.gelu.default)
def _gelu(x: Any, approximate: str = "none") -> Any:
    return jax.nn.gelu(x, approximate=approximate == "tanh")


@lowers(_aten.leaky_relu.default)
def _leaky_relu(x: Any, slope: float = 0.01) -> Any:
    return jnp.where(x > 0, x, x * slope)


@lowers(_aten.elu.default)
def _elu(x: Any, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Any:
    return scale * jnp.where(x > 0, x, alpha * jnp.expm1(jnp.minimum(x, 0) * input_scale))


@lowers(_aten.softplus.default)
def _softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    return jnp.where(x * beta > threshold, x, jax.nn.softplus(x * beta) / beta)


@lowers(_aten.prelu.default)
def _prelu(x: Any, slope: Any) -> Any:
    slope = slope.reshape((1, -1) + (1,) * (x.ndim - 2)) if slope.size > 1 and x.ndim > 1 else slope
    return jnp.where(x > 0, x, x * slope)
