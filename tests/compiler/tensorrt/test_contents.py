from __future__ import annotations

import pytest

from artifacts.report import EngineSize
from artifacts.tensorrt_plan_contents import KernelTexts, PlanContents
from artifacts.tensorrt_plan_weights import HeldWeights
from compiler.tensorrt.contents import plan_notices

MB = 1_000_000


def size(plan: int, texts: int, held: int = 10) -> EngineSize:
    contents = PlanContents(
        bytes=plan * MB,
        kernels=KernelTexts(texts=7, bytes=texts * MB),
        weights=HeldWeights(bytes=10 * MB, once_bytes=10 * MB, held_bytes=held * MB),
    )
    return EngineSize(name="m", source_bytes=1, plan_bytes=plan * MB, plan=contents)


@pytest.mark.parametrize(
    ("plan", "texts", "held", "said"),
    [
        (13, 2, 10, []),
        (
            14,
            3,
            10,
            ["3.0 MB are source texts of 7 kernels, which the runtime compiles on the GPU"],
        ),
        (40, 3, 30, ["it holds 20.0 MB of them again"]),
    ],
)
def test_a_plan_that_is_much_larger_than_its_weights_is_told(plan: int, texts: int, held: int, said: list[str]) -> None:
    begin = f"engine m: its plan has {plan}.0 MB for 10.0 MB of weights: "
    assert plan_notices([size(plan, texts, held)]) == [begin + what for what in said]


def test_an_engine_without_a_plan() -> None:
    assert plan_notices([EngineSize(name="m", source_bytes=1)]) == []
