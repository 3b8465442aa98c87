from __future__ import annotations

import os
import signal

import pytest

from artifacts.onnxruntime_module import TELEMETRY_VARIABLE

os.environ[TELEMETRY_VARIABLE] = "1"  # tests import ONNX Runtime themselves
# A suite in the background of a shell is started with interrupts ignored, and so would be all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write what the passes give now into tests/golden instead of comparing with it; then read the diff",
    )
