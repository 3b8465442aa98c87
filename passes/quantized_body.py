"""Write a function's products anew on 8-bit codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.fx import Graph, Node

from artifacts.dtype import DType
from artifacts.names import free_name
from artifacts.weights import WeightStore
from passes.bodies import copied_graph, edited
from passes.calibration import Affine
from passes.codes import UINT8, Codes
from passes.dialect import DEQUANTIZE, DEQUANTIZE_CHANNELS, QUANTIZE
from passes.program import Function
from passes.quantized_products import CONVOLUTIONS, Floats, Product, channel_codes, without_norm
from passes.quantized_values import QuantizedValues
from passes.torch_dtypes import torch_dtype_of

_aten = torch.ops.aten

_LARGEST_BIAS = 2.0**30
"""Codes of a bias stay below half of int32: the kernel adds the product to them."""


class QuantizedBody:
    """A copy of a function's graph whose products are rewritten one by one."""

    def __init__(
        self,
        function: Function,
        store: WeightStore,
        values: QuantizedValues,
        ranges: Mapping[Node, Affine],
        codes: Codes,
    ) -> None:
        """`ranges` are where the codes lie for the tensors of `values` that were seen."""
        self.graph: Graph
        self.graph, self._new = copied_graph(function.body)
        self.function = function
        self.store = store
        self.weights = dict(function.weights)
        self._values = values
        self._ranges = ranges
        self._codes = codes
        self._pairs: dict[Node, Node] = {}
        self._held = {function.weights[node.name]: self._new[node] for node in function.weight_nodes}
        self._names = {node.name for node in self.graph.nodes}
        self._mode = function.placeholders[0].meta["val"].fake_mode

    def result(self, products: Sequence[Product]) -> tuple[Function, WeightStore]:
        """The function with these products on codes, and the store with the codes of their weights."""
        by_node = {product.node: product for product in products}
        shared = self._values.shared & self._ranges.keys()
        for node in self.function.graph.nodes:
            if node in by_node:
                self._rewrite(by_node[node])
            if node in shared:
                self._share(node)
        self.graph.eliminate_dead_code()
        for node in [n for n in self.graph.nodes if n.name in self.weights and not n.users]:
            self.graph.erase_node(node)
        names = {node.name for node in self.graph.nodes}
        changed = replace(
            self.function,
            body=edited(self.function.body, self.graph),
            weights={name: ref for name, ref in self.weights.items() if name in names},
            sources={name: source for name, source in self.function.sources.items() if name in names},
        )
        return changed, self.store

    def _rewrite(self, product: Product) -> None:
        node = self._new[product.node]
        affine = self._ranges[self._values.source(product.data)]
        with self.graph.inserting_before(node):
            data = self._in_codes(product, affine)
            if product.node.target in CONVOLUTIONS:
                weight, bias = self._convolution(product, affine)
                node.args = (data, weight, bias, *node.args[3:])
                if product.norm is not None:
                    norm = self._new[product.norm]
                    norm.replace_all_uses_with(node)
                    self.graph.erase_node(norm)
                    self._new[product.norm] = node
                return
            weight, scales = self._matrix(product, affine)
            if product.bias is None:
                node.target, node.args = _aten.matmul.default, (data, weight)
            elif product.bias.name in self.function.weights and product.data.meta["val"].dim() == 2:
                # A product of matrices with its bias is one operator, whose bias may have codes as well.
                bias = self._bias(product.bias, self._array(product.bias), scales, affine)
                whole = node if product.sum is None else self._new[product.sum]
                whole.target, whole.args = _aten.addmm.default, (bias, data, weight)
            else:
                result = self._call(_aten.matmul.default, data, weight)
                node.target, node.args = _aten.add.Tensor, (result, self._new[product.bias])

    def _in_codes(self, product: Product, affine: Affine) -> Node:
        """The data of a product as values of codes."""
        data = self._new[product.data]
        if product.data in self._pairs:
            return self._pairs[product.data]
        self._pairs[product.data] = self._rounded(data, affine)
        return self._pairs[product.data]

    def _share(self, old: Node) -> None:
        """Let everybody take a tensor as values of codes."""
        node = self._new[old]
        users = list(node.users)
        with self.graph.inserting_before(node.next):
            self._pairs[old] = self._rounded(node, self._ranges[old])
        for user in users:
            user.replace_input_with(node, self._pairs[old])

    def _rounded(self, node: Node, affine: Affine) -> Node:
        form = self._codes.data
        others = () if form is UINT8 else (form.dtype.value,)
        quantized = self._call(QUANTIZE, node, affine.scale, affine.zero_point, *others)
        return self._call(DEQUANTIZE, quantized, affine.scale, affine.zero_point)

    def _matrix(self, product: Product, data: Affine) -> tuple[Node, Floats]:
        """The matrix as [in, out], the form that products of bytes take, and its scales."""
        array, bias = self._array(product.weight), product.bias
        is_held = bias is not None and bias.name in self.function.weights
        least = self._least_scales(self._array(bias), data) if bias is not None and is_held else None
        matrix = np.ascontiguousarray(array.T if product.is_turned else array)
        codes, scales = channel_codes(matrix, 1, least, self._codes.weights)
        return self._dequantized(product.weight, codes, scales, 1), scales

    def _convolution(self, product: Product, data: Affine) -> tuple[Node, Node | None]:
        """Weight and bias, with the normalisation after the convolution in them."""
        weight = self._array(product.weight)
        bias = np.zeros(len(weight), np.float32) if product.bias is None else self._array(product.bias)
        if product.norm is not None:
            weight, bias = self._with_norm(product.norm, weight, bias)
        codes, scales = channel_codes(weight, 0, self._least_scales(bias, data), self._codes.weights)
        node = self._dequantized(product.weight, codes, scales, 0)
        if product.bias is None and product.norm is None:
            return node, None
        return node, self._bias(product.bias or product.weight, bias, scales, data)

    def _bias(self, like: Node, bias: Floats, scales: Floats, data: Affine) -> Node:
        """A bias [out]; with codes in the steps in which the kernel has its sums: of data and each channel's weight."""
        if not self._codes.codes_biases:
            return self._weight(like, "bias", bias)
        steps = (scales * np.float32(data.scale)).astype(np.float32)
        return self._channels(like, np.rint(bias / steps).astype(np.int32), DType.INT32, steps, 0, "bias_")

    def _with_norm(self, norm: Node, weight: Floats, bias: Floats) -> tuple[Floats, Floats]:
        _, gain, shift, mean, var, _, _, eps, *_ = norm.args
        count = len(weight)
        given = {"gain": gain, "shift": shift, "mean": mean, "var": var}
        missing = {"gain": np.ones(count, np.float32), "shift": np.zeros(count, np.float32)}
        arrays = {name: self._array(node) if isinstance(node, Node) else missing[name] for name, node in given.items()}
        assert isinstance(eps, float)
        return without_norm(weight, bias, arrays, eps)

    def _array(self, weight: Node) -> Floats:
        array: Floats = self.store.array(self.function.weights[weight.name]).astype(np.float32, copy=False)
        return array

    def _dequantized(self, weight: Node, codes: npt.NDArray[Any], scales: Floats, axis: int) -> Node:
        return self._channels(weight, codes, self._codes.weights.dtype, scales, axis)

    def _channels(
        self, like: Node, codes: npt.NDArray[Any], dtype: DType, scales: Floats, axis: int, kind: str = ""
    ) -> Node:
        held = (self._weight(like, f"{kind}codes", codes, dtype), self._weight(like, f"{kind}scales", scales))
        return self._call(DEQUANTIZE_CHANNELS, *held, axis)

    def _weight(self, like: Node, kind: str, array: npt.NDArray[Any], dtype: DType = DType.FLOAT32) -> Node:
        self.store, ref = self.store.with_tensor(array, dtype)
        if ref in self._held:
            return self._held[ref]
        with self.graph.inserting_before(next(iter(self.graph.nodes))):
            node = self.graph.placeholder(free_name(f"{like.name}_{kind}", self._names))
        with self._mode:
            node.meta = {"val": torch.empty(ref.shape, dtype=torch_dtype_of(ref.dtype)), "weight": True}
        self.weights[node.name] = ref
        self._held[ref] = node
        return node

    def _call(self, target: Any, *args: Any) -> Node:
        node = self.graph.call_function(target, args)
        self._set_value(node)
        return node

    def _set_value(self, node: Node) -> None:
        target: Any = node.target
        with self._mode:
            node.meta["val"] = target(*torch.fx.map_arg(node.args, lambda n: n.meta["val"]))

    def _least_scales(self, bias: Floats, data: Affine) -> Floats | None:
        """The scales of a weight below which the codes of its bias would not fit into 32 bits, if it has codes."""
        if not self._codes.codes_biases:
            return None
        return (np.abs(bias) / np.float32(data.scale * _LARGEST_BIAS)).astype(np.float32)
