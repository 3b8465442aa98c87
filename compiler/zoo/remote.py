"""Models at URLs, through fsspec."""

from __future__ import annotations


def remote_matches(pattern: str) -> list[str]:
    """The URLs that a pattern matches, sorted."""
    raise NotImplementedError
