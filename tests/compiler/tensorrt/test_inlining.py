from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from artifacts.dtype import DType
from artifacts.errors import TargetError
from artifacts.plan_build import PlanBuild
from artifacts.spec import Signature
from compiler.onnx_engines import OnnxSource
from compiler.tensorrt.builder import build_plan
from compiler.tensorrt.inlining import with_codes_inlined
from tests.support.bundles import spec
from tests.support.models import Array
from tests.support.programs import normal, parsed

ROUNDED = """
    q = QuantizeLinear (p, scale, zero)
    d = DequantizeLinear (q, scale, zero)
    v = DequantizeLinear <axis = 1> (w, s)
    r = MatMul (d, v)
"""


def source(body: str) -> OnnxSource:
    """One that calls a function of this body twice by way of another one."""
    model = parsed(
        f"""<ir_version: 10, opset_import: ["": 20, "local": 1]>
        g (float[8, 16] x) => (float[8, 16] y) {{ a = local.outer (x, w, s) y = local.outer (a, w, s) }}
        <domain: "local", opset_import: ["": 20, "local": 1]>
        outer (p, w, s) => (r) {{ h = Tanh (p) r = local.inner (h, w, s) }}
        <domain: "local", opset_import: ["": 20]>
        inner (p, w, s) => (r) {{
            scale = Constant <value_float = 0.0078125> ()
            zero = Constant <value = int8 {{0}}> ()
            {body}
        }}""",
        w=np.rint(normal(16, 16) * 30).astype(np.int8),
        s=np.full(16, 1 / 64, np.float32),
    )
    signature = Signature(
        inputs=(spec("x", DType.FLOAT32, 8, 16),),
        outputs=(spec("y", DType.FLOAT32, 8, 16),),
    )
    return OnnxSource("unrolled", signature, model.SerializeToString(), ir.from_proto(model), {})


def run(data: bytes) -> Array:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    (found,) = session.run(["y"], {"x": normal(8, 16, seed=1)})
    result: Array = found
    return result


def test_the_parser_takes_a_function_with_codes_once_and_inlined_as_often_as_need_be(tmp_path: Path) -> None:
    rtx: Any = pytest.importorskip("tensorrt_rtx")
    build = PlanBuild(dtypes=(DType.FLOAT32, DType.INT8), capabilities=("sm89",))
    called = source(ROUNDED)
    with pytest.raises(TargetError, match="name is already in use"):
        build_plan(rtx, "m", called.data, tmp_path, build)
    assert build_plan(rtx, "m", with_codes_inlined(called).data, tmp_path, build)


def test_what_is_inlined_computes_the_same_under_the_same_names() -> None:
    called = source(ROUNDED)
    inlined = with_codes_inlined(called)
    model = onnx.ModelProto.FromString(inlined.data)
    onnx.checker.check_model(model, full_check=True)
    assert not model.functions
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["x", "y"]
    assert [tensor.name for tensor in model.graph.initializer] == ["w", "s"]
    names = [node.name for node in inlined.nodes()]
    assert len(names) == len(set(names)) == 14
    np.testing.assert_array_equal(run(inlined.data), run(called.data))


def test_other_functions_stay() -> None:
    called = source("v = Cast <to = 1> (w) r = MatMul (p, v)")
    assert with_codes_inlined(called) is called
