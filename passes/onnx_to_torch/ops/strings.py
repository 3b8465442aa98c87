"""Operators on strings, which are known while a model is converted: no program has them at run time."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import torch

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.registry import op
from passes.onnx_to_torch.values import Known, Text

_CASES: dict[str, Callable[[str], str]] = {"NONE": str, "LOWER": str.lower, "UPPER": str.upper}


@op("StringConcat", 20, texts=(0, 1))
def string_concat(_: Call, a: Text, b: Text) -> Text:
    return Text(np.asarray(a.array + b.array, dtype=object))


@op("StringSplit", 20, texts=(0,))
def string_split(call: Call, data: Text) -> tuple[Text, Known]:
    """Parts along a new last axis, "" after a string's last one, and how many parts each string has."""
    delimiter = call.attr_text("delimiter", "") or None
    limit = call.attr_int("maxsplit", -1)
    parts = [element.split(delimiter, limit) for element in data.array.reshape(-1)]
    most = max(map(len, parts), default=0)
    filled = np.full((len(parts), most), "", dtype=object)
    for row, found in enumerate(parts):
        filled[row, : len(found)] = found
    counts = Known.of(map(len, parts)).array
    return Text(filled.reshape(*data.array.shape, most)), Known(counts.reshape(data.array.shape))


@op("StringNormalizer", 10, texts=(0,))
def string_normalizer(call: Call, data: Text) -> Text:
    """[C] or [1, C] without the stopwords, in another case. If nothing is left, one empty string."""
    if call.has("locale") and not call.attr_text("locale").startswith("en"):
        call.unsupported(f"locale {call.attr_text('locale')!r}", "case is changed as in English")
    folded: Callable[[str], str] = str if call.attr_int("is_case_sensitive") else str.lower
    stopwords = {folded(word) for word in call.attr_texts("stopwords", [])}
    change = _CASES[call.attr_text("case_change_action")]
    kept = [change(word) for word in data.array.reshape(-1) if folded(word) not in stopwords] or [""]
    return Text(np.array(kept, dtype=object).reshape(*data.array.shape[:-1], -1))


@op("RegexFullMatch", 20, texts=(0,))
def regex_full_match(call: Call, data: Text) -> Known:
    """The pattern is of RE2's language, of which Python's has all but named character classes."""
    pattern = call.attr_text("pattern")
    if re.search(r"\[:\^?\w+:\]|\\[pPCQ]|\(\?[a-zA-Z]*U", pattern):
        call.unsupported(f"the pattern {pattern!r}", "it has syntax of RE2 that Python has not")
    try:
        compiled = re.compile(pattern, re.ASCII)
    except re.error as error:
        call.unsupported(f"the pattern {pattern!r}: {error}")
    matches = [compiled.fullmatch(element) is not None for element in data.array.reshape(-1)]
    return Known(Known.of(matches, torch.bool).array.reshape(data.array.shape), torch.bool)
