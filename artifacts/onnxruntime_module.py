"""ONNX Runtime, imported in one place, because it has to be told something before it is."""

from __future__ import annotations

import os
from typing import Any

from artifacts.errors import MissingToolError

TELEMETRY_VARIABLE = "ORT_DISABLE_TELEMETRY"
"""ONNX Runtime's own. From 1.29 on its builds send digests and names of models to its maker, and keep a database below
HOME/.cache for that, as soon as the module is imported: `disable_telemetry_events` comes too late."""


def import_onnxruntime(stage: str, message: str = "is not installed") -> Any:
    """The module, with telemetry off unless the environment says otherwise (`ORT_DISABLE_TELEMETRY=0`).

    Raises MissingToolError with this stage and message if it is not installed. A host that imported it before has
    decided for itself.
    """
    os.environ.setdefault(TELEMETRY_VARIABLE, "1")
    try:
        import onnxruntime
    except ImportError as error:
        hint = 'pip install "unspool[onnxruntime]"'
        raise MissingToolError.of(stage, "onnxruntime", message, hint) from error
    return onnxruntime
