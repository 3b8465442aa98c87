"""Lowerings of operators, by kind. See `compiler/hlo/registry.py`."""
