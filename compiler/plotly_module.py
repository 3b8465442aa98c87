"""The library that draws charts, where it is installed."""

from __future__ import annotations

from typing import Any

from artifacts.errors import MissingToolError


def import_plotly(stage: str) -> tuple[Any, Any]:
    """Plotly's `graph_objects` and `make_subplots`. Raises MissingToolError, of that stage, if it is not installed."""
    try:
        import plotly.graph_objects as go
        from plotly.subplots import make_subplots
    except ImportError as error:
        hint = 'pip install "unspool[plot]"'
        raise MissingToolError.of(stage, "plotly", "is not installed, and charts are drawn with it", hint) from error
    return go, make_subplots
