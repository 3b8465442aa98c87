"""Fewer bits for AWS Neuron: 16-bit weights are parameters of 16 bits, and the module is proven as any other."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("jax")

from artifacts.dtype import DType
from compiler.compile import compile_bundle
from compiler.generation import TokenFlags
from compiler.hlo.instructions import instructions
from compiler.options import CacheMode, CompileOptions, ModelFile, Precision, ScheduleName
from tests.support.models import saved, toy_decoder

TYPES = {Precision.BF16: (DType.BFLOAT16, "bf16"), Precision.FP16: (DType.FLOAT16, "f16")}


@pytest.mark.parametrize("precision", TYPES)
def test_weights_and_products_are_of_16_bits(precision: Precision, perceptron_file: Path, tmp_path: Path) -> None:
    options = CompileOptions(target="neuronx", precision=precision, opt_shapes=(("x", (4, 16)),))
    bundle = compile_bundle([ModelFile("m", perceptron_file)], tmp_path / "b", options).bundle
    (engine,) = bundle.manifest.engines.values()
    dtype, name = TYPES[precision]
    assert engine.status == "hlo-verified"
    assert {ref.dtype for ref in engine.bindings.values()} == {dtype}
    assert {spec.dtype for spec in (*engine.signature.inputs, *engine.signature.outputs)} == {DType.FLOAT32}
    products = [found for found in instructions((tmp_path / "b" / engine.source).read_bytes()) if found.opcode == "dot"]
    assert len(products) == 2
    assert all(f" {name}[" in product.text for product in products)


def test_nobody_gets_fewer_bits_who_did_not_ask(perceptron_file: Path, tmp_path: Path) -> None:
    options = CompileOptions(target="neuronx", precision=Precision.AUTO, opt_shapes=(("x", (4, 16)),))
    bundle = compile_bundle([ModelFile("m", perceptron_file)], tmp_path / "b", options).bundle
    assert {ref.dtype for ref in bundle.manifest.engines["m"].bindings.values()} == {DType.FLOAT32}


@pytest.mark.parametrize(
    ("schedule", "cache_mode"), [(ScheduleName.PARTITIONED, CacheMode.ON), (ScheduleName.LOOP, CacheMode.PADDED)]
)
def test_a_decode_runs_on_from_what_it_carries(schedule: ScheduleName, cache_mode: CacheMode, tmp_path: Path) -> None:
    """Its scores and what goes from engine to engine may be of 16 bits; its tokens are compared, and told if others."""
    options = CompileOptions(
        target="neuronx",
        precision=Precision.BF16,
        schedule=schedule,
        cache=cache_mode,
        partitions=(2, 5) if schedule is ScheduleName.PARTITIONED else (),
        tokens=TokenFlags(start=0, eos=(2, 9), pad=0, max_new_tokens=5),
        opt_shapes=(("x", (5, 4)),),
    )
    model = ModelFile("toy", saved(toy_decoder(), tmp_path / "toy.onnx"))
    bundle = compile_bundle([model], tmp_path / "b", options).bundle
    assert {engine.status for engine in bundle.manifest.engines.values()} == {"hlo-verified"}
    weights = [ref.dtype for engine in bundle.manifest.engines.values() for ref in engine.bindings.values()]
    assert DType.BFLOAT16 in weights
    report = bundle.report()
    assert report is not None
    assert not [notice for notice in report.notices if "are not" in notice]
