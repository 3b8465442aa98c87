"""Special tokens: from flags, or from the configuration files that lie beside a model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from pydantic import JsonValue

from artifacts.errors import UsageError
from artifacts.schedule import Beams, Generation

CONFIG_FILES = ("generation_config.json", "config.json")
"""Looked up in this order; the keys are those of Hugging Face transformers, and null says nothing."""

DEFAULT_MAX_NEW_TOKENS = 128


UNAPPLIED: Mapping[str, JsonValue] = MappingProxyType(
    {
        "do_sample": False,
        "no_repeat_ngram_size": 0,
        "encoder_no_repeat_ngram_size": 0,
        "repetition_penalty": 1.0,
        "min_length": 0,
        "min_new_tokens": 0,
        "begin_suppress_tokens": [],
        "forced_decoder_ids": [],
        "num_beam_groups": 1,
    }
)
"""Settings that change what transformers generates and that are not applied here, with the value that does nothing."""


@dataclass(frozen=True)
class TokenFlags:
    """What the command line says of generation; None where it says nothing."""

    start: int | None = None
    eos: tuple[int, ...] | None = None
    pad: int | None = None
    max_new_tokens: int | None = None
    beams: int | None = None
    length_penalty: float | None = None
    early_stopping: bool | Literal["never"] | None = None


def read_generation(model: Path, flags: TokenFlags) -> Generation | None:
    """Generation settings of a model, or None if its start and end tokens are not known.

    A flag goes before a file. Raises UsageError if a file is there and cannot be understood.
    """
    config = _config(model)
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
        suppressed=(*_tokens(config.get("suppress_tokens")), *_single_bad_words(config, eos)),
        beams=_beams(config, flags),
    )


def read_pad(model: Path, flags: TokenFlags) -> int | None:
    """The token that stands for none, if a flag or a file says it. Raises UsageError as `read_generation`."""
    return flags.pad if flags.pad is not None else _token(_config(model), "pad_token_id")


def unapplied_settings(model: Path) -> tuple[str, ...]:
    """What the files beside a model say of generation and Unspool does not do, as `key value`."""
    config = _config(model)
    return tuple(
        f"{key} {config[key]}" for key, idle in UNAPPLIED.items() if config.get(key, idle) not in (idle, 0, [])
    )


def _beams(config: Mapping[str, JsonValue], flags: TokenFlags) -> Beams | None:
    width = flags.beams if flags.beams is not None else _token(config, "num_beams") or 1
    if width < 2:
        return None
    penalty = flags.length_penalty if flags.length_penalty is not None else config.get("length_penalty")
    early = flags.early_stopping if flags.early_stopping is not None else config.get("early_stopping")
    return Beams(
        width=width,
        length_penalty=float(penalty) if isinstance(penalty, int | float) else 1.0,
        early_stopping="never" if early == "never" else early is True,
    )


def _single_bad_words(config: Mapping[str, JsonValue], eos: tuple[int, ...]) -> tuple[int, ...]:
    """Bad words of one token are suppressed tokens; an end token is none of them, whatever the list says."""
    words = config.get("bad_words_ids")
    found = [_tokens(word) for word in words if isinstance(word, list)] if isinstance(words, list) else []
    return tuple(word[0] for word in found if len(word) == 1 and word[0] not in eos)


def generation_files(model: Path) -> tuple[Path, ...]:
    """The configuration files that exist beside a model."""
    return tuple(path for name in CONFIG_FILES if (path := model.parent / name).is_file())


def _config(model: Path) -> dict[str, JsonValue]:
    """What the files beside a model say, the first of them before the others."""
    config: dict[str, JsonValue] = {}
    for name in reversed(CONFIG_FILES):
        config |= {key: value for key, value in _read(model.parent / name).items() if value is not None}
    return config


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
