"""The command line. Nothing here imports torch, pydantic or a runtime at module level: `--help` answers at once."""
