"""Special tokens: from flags, or from the configuration files that lie beside a model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from artifacts.errors import UsageError
from artifacts.schedule import Generation

CONFIG_FILES = ("generation_config.json", "config.json")
"""Looked up in this order; the keys are those of Hugging Face transformers, and null says nothing."""

DEFAULT_MAX_NEW_TOKENS = 128


@dataclass(frozen=True)
class TokenFlags:
    """What the command line says of generation; None where it says nothing."""

    start: int | None = None
    eos: tuple[int, ...] | None = None
    pad: int | None = None
    max_new_tokens: int | None = None


def read_generation(model: Path, flags: TokenFlags) -> Generation | None:
    """Generation settings of a model, or None if its start and end tokens are not known.

    A flag goes before a file. Raises UsageError if a file is there and cannot be understood.
    """
    config: dict[str, JsonValue] = {}
    for name in reversed(CONFIG_FILES):
        config |= {key: value for key, value in _read(model.parent / name).items() if value is not None}
    start = flags.start if flags.start is not None else _token(config, "decoder_start_token_id", "bos_token_id")
    eos = flags.eos if flags.eos is not None else _tokens(config.get("eos_token_id"))
    if start is None or not eos:
        return None
    pad = flags.pad if flags.pad is not None else _token(config, "pad_token_id")
    longest = _token(config, "max_new_tokens")
    if not longest:
        # transformers counts the start token in max_length, and not in max_new_tokens.
        length = _token(config, "max_length")
        longest = length - 1 if length is not None and length > 1 else DEFAULT_MAX_NEW_TOKENS
    return Generation(
        start=start,
        eos=eos,
        pad=eos[0] if pad is None else pad,
        max_new_tokens=flags.max_new_tokens or longest,
        forced_first=_token(config, "forced_bos_token_id"),
        forced_last=_token(config, "forced_eos_token_id"),
        suppressed=_tokens(config.get("suppress_tokens")),
    )


def generation_files(model: Path) -> tuple[Path, ...]:
    """The configuration files that exist beside a model."""
    return tuple(path for name in CONFIG_FILES if (path := model.parent / name).is_file())


def _read(path: Path) -> Mapping[str, JsonValue]:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError.of("options", str(path), f"cannot be read as JSON: {error}", "repair or remove it") from error
    if not isinstance(content, dict):
        raise UsageError.of("options", str(path), "is not a JSON object", "repair or remove it")
    return content


def _token(config: Mapping[str, JsonValue], *keys: str) -> int | None:
    return next((value for key in keys for value in _tokens(config.get(key))), None)


def _tokens(value: JsonValue) -> tuple[int, ...]:
    listed = value if isinstance(value, list) else [value]
    # In Python a bool is an int; in JSON it is no token.
    return tuple(token for token in listed if isinstance(token, int) and not isinstance(token, bool) and token >= 0)
