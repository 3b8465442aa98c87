"""ONNX Runtime without the project, to compare with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime


def session_options(threads: int, folder: Path | None = None) -> Any:
    """Options as ONNX Runtime has them but for the threads; `folder` is where external weights are looked for."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if folder is not None:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    return options


def bare_session(model: Path | bytes, threads: int, folder: Path | None = None) -> Any:
    """A session on a file or on the bytes of a model."""
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, session_options(threads, folder), providers=["CPUExecutionProvider"])
