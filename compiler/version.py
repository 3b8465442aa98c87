"""Unspool's own version."""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    """The installed distribution's version; "0+source" where the packages are used without being installed."""
    try:
        return metadata.version("unspool")
    except metadata.PackageNotFoundError:
        return "0+source"
