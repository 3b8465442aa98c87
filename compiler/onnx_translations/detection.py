"""`unspool::non_max_suppression` as ONNX's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from compiler.onnx_translations.opset import op
from passes import dialect


def _non_max_suppression(boxes: Any, scores: Any, most: Any, overlap: Any, threshold: Any, centred: bool) -> Any:
    return op.NonMaxSuppression(boxes, scores, most, overlap, threshold, center_point_box=int(centred))


TRANSLATIONS: Mapping[Callable[..., Any], Callable[..., Any]] = MappingProxyType(
    {dialect.NON_MAX_SUPPRESSION: _non_max_suppression}
)
