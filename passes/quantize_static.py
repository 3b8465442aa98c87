"""Products and convolutions in 8 bits, with scales that calibration fixes once and for all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch.fx import Node

from artifacts.tolerances import Tolerance
from passes.calibration import NOTHING, Affine, Method, Seen, Values
from passes.codes import CODES, CodesName
from passes.contract import Rewrite
from passes.interpreter import Observer
from passes.narrowing import without_idle_casts
from passes.observation import watch_calibration
from passes.precision import PrecisionPass, kept_of
from passes.program import Function, Program
from passes.quantized_body import QuantizedBody
from passes.quantized_products import products_of
from passes.quantized_values import QuantizedValues
from passes.torch_dtypes import to_numpy

TOLERANCE = Tolerance(atol=0.0, rtol=1.25e-1, scale=1.25e-1)
"""That of numbers of 8 bits in the table: each tensor on the way is rounded to one of 256 values.

Nothing is allowed whatever the size of an output: probabilities of a thousand classes would all pass.
"""


@dataclass(frozen=True)
class QuantizeStatic(PrecisionPass):
    """x w + b  ->  dequantize(quantize(x)) dequantize_channels(w) + b, w in 8 bits.

    Weights are symmetric, with a scale for each output channel; activations have one scale and zero for the tensor,
    found by `method` from the values of the calibration requests. `codes` says what 8 bits are: see `passes/codes.py`.
    A convolution gives its result in 8 bits as well,
    after a normalisation, which becomes a part of the weights, and after a Relu; so does a sum of two such tensors. A
    product of which no request saw a value stays as it is.
    """

    name: ClassVar[str] = "quantize-static"
    method: Method = "min-max"
    percentile: float = 99.99
    codes: CodesName = "uint8"

    @property
    def tolerance(self) -> Tolerance:
        return TOLERANCE

    def candidates(self, program: Program) -> tuple[str, ...]:
        return tuple(
            f"{name}/{product.node.name}"
            for name, function in program.functions.items()
            for product in products_of(without_idle_casts(function))
        )

    def rewrite(self, program: Program) -> Rewrite:
        plain = program.with_functions({n: without_idle_casts(f) for n, f in program.functions.items()})
        values = {name: self._values(function) for name, function in plain.functions.items()}
        if not any(found.products for found in values.values()):
            return Rewrite(program)
        codes = CODES[self.codes]
        seen = _seen(plain, values, counted=self.method != "min-max")
        store, functions, notes = program.weights, dict[str, Function](), list[str]()
        for name, found in values.items():
            ranges = {
                node: Affine.of(codes, *seen[name, node.name].range(self.method, self.percentile))
                for node in found.measured
                if (name, node.name) in seen
            }
            done = [product for product in found.products if found.source(product.data) in ranges]
            if done:
                body = QuantizedBody(plain.functions[name], store, found, ranges, codes)
                functions[name], store = body.result(done)
                notes.append(f"{name}: products in 8 bits: {len(done)} of {len(found.products)}")
        return Rewrite(program.with_functions(functions, store), tuple(notes))

    def _values(self, function: Function) -> QuantizedValues:
        kept = kept_of(self.keep, function.name)
        return QuantizedValues.of(function, [found for found in products_of(function) if found.node.name not in kept])


def _seen(program: Program, values: Mapping[str, QuantizedValues], counted: bool) -> Mapping[tuple[str, str], Seen]:
    """What each tensor that is to be quantised holds on the calibration requests, by function and node."""
    found: dict[tuple[str, str], Seen] = {}
    wanted = {(name, node.name) for name, those in values.items() for node in those.measured}

    def watch_extremes(function: str) -> Observer:
        def observe(node: Node, value: object) -> None:
            key = function, node.name
            if key in wanted:
                found[key] = found.get(key, NOTHING).with_values(_finite(value))

        return observe

    def watch_counts(function: str) -> Observer:
        def observe(node: Node, value: object) -> None:
            key = function, node.name
            if key in found:
                found[key] = found[key].with_counted(_finite(value))

        return observe

    watch_calibration(program, watch_extremes)
    found = {key: seen for key, seen in found.items() if seen.least <= seen.greatest}
    if counted:
        watch_calibration(program, watch_counts)
    return found


def _finite(value: Any) -> Values:
    assert isinstance(value, torch.Tensor)
    values = to_numpy(value).reshape(-1).astype(np.float32, copy=False)
    return values[np.isfinite(values)]
