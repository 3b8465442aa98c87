"""Every lowering against torch, on the operator that it is of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

jnp = pytest.importorskip("jax.numpy")

from compiler.hlo.dtypes import jax_dtype  # noqa: E402 - JAX is an extra
from compiler.hlo.registry import lowerings  # noqa: E402
from passes.torch_dtypes import to_numpy  # noqa: E402

aten = torch.ops.aten
Call = tuple[tuple[Any, ...], dict[str, Any]]


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape) + 1))


def whole(*shape: int, high: int = 5) -> torch.Tensor:
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(7))


def call(*arguments: Any, **named: Any) -> Call:
    return arguments, named


X, Y = normal(2, 3, 4), normal(2, 3, 4)
UNIT = torch.sigmoid(X)
TRUE = X > 0
IMAGE = normal(2, 4, 7, 9)
TIES = whole(2, 3, 4, high=3).float()

CASES: dict[Any, list[Call]] = {
    aten.log.default: [call(UNIT)],
    aten.log2.default: [call(UNIT)],
    aten.log10.default: [call(UNIT)],
    aten.log1p.default: [call(UNIT)],
    aten.sqrt.default: [call(UNIT)],
    aten.rsqrt.default: [call(UNIT)],
    aten.asin.default: [call(UNIT)],
    aten.acos.default: [call(UNIT)],
    aten.atanh.default: [call(UNIT * 0.9)],
    aten.acosh.default: [call(UNIT + 1)],
    aten.round.default: [call(torch.tensor([0.5, 1.5, -0.5, 2.4]))],
    aten.logical_not.default: [call(TRUE), call(X)],
    aten.bitwise_not.default: [call(TRUE), call(whole(3))],
    aten.isnan.default: [call(torch.tensor([1.0, float("nan")]))],
    aten.isinf.default: [call(torch.tensor([1.0, float("-inf")]))],
    aten.pow.Tensor_Tensor: [call(UNIT, Y)],
    aten.pow.Tensor_Scalar: [call(X, 2), call(UNIT, -0.5)],
    aten.pow.Scalar: [call(2.0, X)],
    aten.fmod.Tensor: [call(X, UNIT)],
    aten.fmod.Scalar: [call(X, 0.3)],
    aten.remainder.Tensor: [call(X, UNIT), call(whole(4) - 2, torch.tensor([3, 3, -3, -3]))],
    aten.remainder.Scalar: [call(X, 0.3)],
    aten.remainder.Scalar_Tensor: [call(2.0, UNIT)],
    aten.bitwise_and.Tensor: [call(whole(3), whole(3)), call(TRUE, ~TRUE)],
    aten.bitwise_or.Tensor: [call(whole(3), whole(3))],
    aten.bitwise_xor.Tensor: [call(whole(3), whole(3))],
    aten.bitwise_and.Scalar: [call(whole(3), 1)],
    aten.bitwise_or.Scalar: [call(whole(3), 1)],
    aten.bitwise_xor.Scalar: [call(whole(3), 1)],
    aten.add.Tensor: [call(X, Y, alpha=2), call(X, 1.5), call(whole(3), 2)],
    aten.add.Scalar: [call(X, 2.5)],
    aten.sub.Tensor: [call(X, Y, alpha=3), call(X, 1)],
    aten.sub.Scalar: [call(X, 2.5)],
    aten.rsub.Scalar: [call(X, 2.5)],
    aten.rsub.Tensor: [call(X, Y)],
    aten.div.Tensor: [call(X, UNIT), call(whole(3), 2)],
    aten.div.Scalar: [call(X, 3)],
    aten.div.Tensor_mode: [call(X, UNIT, rounding_mode=m) for m in ("floor", "trunc", None)]
    + [call(whole(4) - 3, torch.tensor([2, 2, -2, 3]), rounding_mode=m) for m in ("floor", "trunc")],
    aten.div.Scalar_mode: [call(X, 0.3, rounding_mode="floor"), call(whole(4) - 3, 2, rounding_mode="trunc")],
    aten.floor_divide.default: [call(whole(4) - 3, torch.tensor([2, 2, -2, 3]))],
    aten.where.self: [call(TRUE, X, Y), call(TRUE[:, :1], X, torch.tensor(0.0))],
    aten.where.ScalarOther: [call(TRUE, X, 0.5)],
    aten.where.ScalarSelf: [call(TRUE, 0.5, X)],
    aten.where.Scalar: [call(TRUE, 0.5, 1.5)],
    aten.masked_fill.Scalar: [call(X, TRUE, float("-inf"))],
    aten.masked_fill.Tensor: [call(X, TRUE, torch.tensor(2.0))],
    aten.clamp.default: [call(X, -0.5, 0.5), call(X, None, 0.1), call(X, 0)],
    aten.clamp.Tensor: [call(X, UNIT - 1, UNIT)],
    aten.hardtanh.default: [call(X, -0.5, 0.5)],
    aten.clamp_min.default: [call(X, 0.1)],
    aten.clamp_max.default: [call(X, 0.1)],
    aten.gelu.default: [call(X), call(X, approximate="tanh")],
    aten.leaky_relu.default: [call(X, 0.2)],
    aten.elu.default: [call(X), call(X, 1.5, 2.0, 0.5)],
    aten.softplus.default: [call(X * 20), call(X, 2.0, 1.0)],
    aten.prelu.default: [call(X, torch.tensor([0.1, 0.2, 0.3])), call(X, torch.tensor([0.1]))],
    aten.to.dtype: [call(X, torch.int64), call(whole(3), torch.float32), call(X, torch.bool)],
    aten._to_copy.default: [call(X, dtype=torch.float16)],
    aten.to.dtype_layout: [call(X, dtype=torch.float16, layout=torch.strided, device=torch.device("cpu"))],
    aten.view.default: [call(X, [6, -1])],
    aten.reshape.default: [call(X, [4, 6])],
    aten._unsafe_view.default: [call(X, [24])],
    aten.flatten.using_ints: [call(X, 1), call(X, 0, 1)],
    aten.permute.default: [call(X, [2, 0, 1])],
    aten.transpose.int: [call(X, -1, 0)],
    aten.t.default: [call(X[0])],
    aten.unsqueeze.default: [call(X, -1), call(X, 1)],
    aten.squeeze.dim: [call(X[:, :1], 1), call(X, 1)],
    aten.squeeze.dims: [call(X[:1, :1], [0, 1, 2])],
    aten.squeeze.default: [call(X[:1, :1])],
    aten.expand.default: [call(X[:, :1], [5, 2, 3, -1])],
    aten.expand_as.default: [call(X[:, :1], X)],
    aten.cat.default: [call([X, Y], -1), call([torch.zeros(0), X[0]], 0)],
    aten.stack.default: [call([X, Y], 1)],
    aten.slice.Tensor: [call(X, 2, 1, 9), call(X, -1, -3, -1), call(X, 1, None, None, 2)],
    aten.narrow.default: [call(X, 2, 1, 2), call(X, -1, 0, 4)],
    aten.select.int: [call(X, 1, -1), call(X, 0, 1)],
    aten.split_with_sizes.default: [call(X, [1, 3], 2)],
    aten.split.Tensor: [call(X, 3, 2)],
    aten.chunk.default: [call(X, 3, 2), call(X, 2, -1)],
    aten.unbind.int: [call(X, 1)],
    aten.flip.default: [call(X, [0, 2])],
    aten.roll.default: [call(X, [1, -2], [0, 2]), call(X, [5])],
    aten.repeat.default: [call(X, [2, 1, 3, 1])],
    aten.constant_pad_nd.default: [call(X, [1, 2, 0, 1], 2.5), call(X, [-1, 2])],
    aten.tril.default: [call(X, 1)],
    aten.triu.default: [call(X, -1)],
    aten.arange.start_step: [call(1, 9, 3), call(0, 1, 0.25)],
    aten.arange.default: [call(5), call(5, dtype=torch.float32)],
    aten.arange.start: [call(2, 5)],
    aten.full.default: [call([2, 3], 1.5), call([2], 3, dtype=torch.int64)],
    aten.zeros.default: [call([2, 3])],
    aten.ones.default: [call([2, 3], dtype=torch.int64)],
    aten.full_like.default: [call(X, 3)],
    aten.zeros_like.default: [call(X)],
    aten.ones_like.default: [call(whole(3))],
    aten.scalar_tensor.default: [call(2.5), call(3, dtype=torch.int64)],
    aten.sym_size.int: [call(X, 1)],
    aten.embedding.default: [call(normal(5, 4), whole(2, 3))],
    aten.index_select.default: [call(X, 1, whole(5, high=3))],
    aten.gather.default: [call(X, 2, whole(2, 2, 3, high=4)), call(X, -2, whole(1, 3, 4, high=3))],
    aten.index.Tensor: [call(X, [whole(2, high=2), None, whole(2, high=4)]), call(X, [None, whole(4, high=3)])],
    aten.mm.default: [call(X[0], normal(4, 5))],
    aten.bmm.default: [call(X, normal(2, 4, 5))],
    aten.matmul.default: [call(X, normal(4, 5)), call(normal(4), normal(4))],
    aten.mv.default: [call(X[0], normal(4))],
    aten.dot.default: [call(normal(4), normal(4))],
    aten.addmm.default: [call(normal(5), X[0], normal(4, 5)), call(normal(5), X[0], normal(4, 5), beta=2, alpha=0.5)],
    aten.baddbmm.default: [call(normal(2, 3, 5), X, normal(2, 4, 5))],
    aten.linear.default: [call(X, normal(5, 4), normal(5)), call(X, normal(5, 4))],
    aten.conv1d.default: [call(X, normal(5, 3, 2), normal(5)), call(X, normal(3, 1, 3), None, [2], [1], [1], 3)],
    aten.conv2d.default: [call(IMAGE, normal(6, 2, 3, 3), normal(6), [2, 1], [1, 0], [1, 2], 2)],
    aten.conv3d.default: [call(normal(1, 2, 4, 5, 6), normal(3, 2, 2, 2, 2))],
    aten.scaled_dot_product_attention.default: [
        call(X, Y, Y),
        call(X, Y, Y, None, 0.0, True, scale=0.3),
        call(X, Y, Y, torch.tensor([True, True, False])),
        call(X, Y, Y, normal(3, 3)),
    ],
    aten.sum.dim_IntList: [call(X, [0, 2]), call(X, [-1], True), call(whole(2, 3), [1]), call(X, [])],
    aten.sum.default: [call(X), call(TRUE)],
    aten.mean.dim: [call(X, [1], True), call(X, [0, 1])],
    aten.mean.default: [call(X)],
    aten.prod.dim_int: [call(X, 1)],
    aten.amax.default: [call(X, [1], True), call(X)],
    aten.amin.default: [call(X, [0, 2])],
    aten.any.dim: [call(TRUE, 1)],
    aten.any.dims: [call(TRUE, [0, 1], True)],
    aten.any.default: [call(TRUE)],
    aten.all.dim: [call(TRUE, 1)],
    aten.all.dims: [call(TRUE, [0, 1])],
    aten.all.default: [call(TRUE)],
    aten.cumsum.default: [call(X, 1), call(TRUE, -1), call(whole(2, 3), 1)],
    aten.argmax.default: [
        call(TIES, 2),
        call(TIES, 1, True),
        call(TIES),
        call(torch.tensor([1.0, float("nan"), 3.0]), 0),
    ],
    aten.argmin.default: [
        call(TIES, -1),
        call(TIES),
        call(torch.tensor([2.0, float("nan"), 1.0]), 0),
        call(torch.tensor([3, 0, 255, 0], dtype=torch.uint8), 0),
        call(torch.tensor([0, -(2**31), 5], dtype=torch.int32), 0, True),
    ],
    aten.sort.stable: [
        call(TIES, stable=True, dim=1, descending=True),
        call(TIES, stable=True),
        call(TRUE, stable=True),
    ],
    aten.sort.default: [call(X, 1), call(normal(2, 40), 1, True), call(torch.tensor(1.5), 0)],
    aten.topk.default: [call(X, 2), call(X, 2, 1, False), call(X, 0)],
    aten.max.dim: [call(TIES, 2), call(TIES, 0, True)],
    aten.min.dim: [call(TIES, 1)],
    aten.logsumexp.default: [call(X, [1, 2])],
    aten.softmax.int: [call(X, -1), call(X, 1, torch.float32)],
    aten._softmax.default: [call(X, -1, False)],
    aten.log_softmax.int: [call(X, 1)],
    aten._log_softmax.default: [call(X, 1, False)],
    aten.layer_norm.default: [call(X, [4], normal(4), normal(4)), call(X, [3, 4], None, None, 1e-3)],
    aten.batch_norm.default: [
        call(IMAGE, normal(4), normal(4), normal(4), torch.rand(4) + 0.5, False, 0.1, 1e-5, False),
        call(IMAGE, None, None, normal(4), torch.rand(4) + 0.5, False, 0.1, 1e-3, False),
    ],
    aten.group_norm.default: [call(IMAGE, 2, normal(4), normal(4)), call(IMAGE, 4)],
    aten.max_pool1d.default: [call(X, [2], [1], [1])],
    aten.max_pool2d.default: [call(IMAGE, [3, 2], [2, 2], [1, 0]), call(IMAGE, [2, 2], [2, 2], [0, 0], [1, 1], True)],
    aten.max_pool3d.default: [call(normal(1, 2, 4, 5, 6), [2, 2, 2])],
    aten.avg_pool1d.default: [call(X, [2], [1])],
    aten.avg_pool2d.default: [
        call(IMAGE, [3, 3], [2, 2], [1, 1]),
        call(IMAGE, [3, 3], [2, 2], [1, 1], False, False),
        call(IMAGE, [2, 2], [2, 2], [0, 0], True),
        call(IMAGE, [2, 2], [], [0, 0], False, True, 3),
    ],
    aten.avg_pool3d.default: [call(normal(1, 2, 4, 5, 6), [2, 2, 2])],
    aten.adaptive_avg_pool1d.default: [call(X, [2])],
    aten.adaptive_avg_pool2d.default: [call(IMAGE, [1, 1]), call(IMAGE, [7, 3])],
}


def cases_of(target: Any) -> list[Call]:
    """Those that are written down, or what an operator of one or two tensors of numbers is tried on."""
    if target in CASES:
        return CASES[target]
    tensors = [a for a in target._schema.arguments if str(a.type) == "Tensor" and a.default_value is None]
    if "Scalar" in target._overloadname:
        return [call(X, 0.5)]
    return [call(X), call(X[:, :1])] if len(tensors) == 1 else [call(X, Y), call(X, Y[:1, :, :1])]


def as_jax(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return jnp.asarray(to_numpy(value)).astype(jax_dtype(value.dtype))
    return [as_jax(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("target", sorted(lowerings(), key=str), ids=str)
def test_a_lowering_gives_what_torch_does(target: Callable[..., Any]) -> None:
    for arguments, named in cases_of(target):
        expected = target(*arguments, **named)
        given = {name: as_jax(value) for name, value in named.items() if name not in {"layout", "device"}}
        actual = lowerings()[target](*map(as_jax, arguments), **{n: v for n, v in given.items() if v is not None})
        if not isinstance(expected, torch.Tensor | list | tuple):
            assert actual == expected
            continue
        pairs = [(expected, actual)] if isinstance(expected, torch.Tensor) else zip(expected, actual, strict=True)
        for want, got in pairs:
            found = torch.from_numpy(jnp.asarray(got).astype(jax_dtype(want.dtype)).__array__().copy()).to(want.dtype)
            torch.testing.assert_close(found, want, rtol=2e-5, atol=2e-6, equal_nan=True)
