"""torch.onnx as it is called here: quiet, and with its table of translations made once.

torch builds the table of its five hundred translations anew for each export, which takes longer than translating a
small function. torch is pinned, so its own module is known; where it is another one, it builds as often as it likes.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import warnings
from collections.abc import Iterator
from typing import Any
from unittest import mock

from compiler.onnx_translations import OPSET


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """torch.onnx logs on every call that torchvision is not installed, and warns about torch's own code.

    The optimizer logs each constant that a graph gives back as it is: the condition of a loop that only counts, say.
    """
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)
            warnings.filterwarnings("ignore", message=".*axis name.*|# The axis name")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def one_table() -> Iterator[None]:
    """Exports in the block start from copies of one table for each opset, to which they add their own translations."""
    try:
        from torch.onnx._internal.exporter._registration import ONNXRegistry
    except ImportError:
        yield
        return
    build = ONNXRegistry.from_torchlib

    def copied(opset_version: int = OPSET) -> ONNXRegistry:
        if opset_version not in _TABLES:
            _TABLES[opset_version] = build(opset_version)
        found: ONNXRegistry = copy.copy(_TABLES[opset_version])
        found.functions = {name: [*each] for name, each in found.functions.items()}
        return found

    with mock.patch.object(ONNXRegistry, "from_torchlib", staticmethod(copied)):
        yield


_TABLES: dict[int, Any] = {}
"""torch's tables by opset, as it builds them."""
