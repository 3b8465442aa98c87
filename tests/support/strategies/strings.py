"""Strings, which are known while a model is converted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from hypothesis import strategies as st

from tests.support.onnx_ops import Array
from tests.support.strategies.node import BIT, Node
from tests.support.strategies.table import draws

WORDS = ["", "a.b.c", "Monday", "tuesday x", " two  spaces ", "x@y.org", "é"]


def words(node: Node, shape: Sequence[int]) -> Array:
    found = np.empty(shape, object)
    for place in np.ndindex(*shape):
        found[place] = node.choice(*WORDS)
    return found


@draws("StringConcat")
def string_concat(node: Node) -> Sequence[Array | None]:
    rows, columns = node.size(1, 3), node.size(1, 3)
    return [words(node, (rows, columns)), words(node, node.choice((rows, columns), (columns,), (rows, 1)))]


@draws("StringSplit")
def string_split(node: Node) -> Sequence[Array | None]:
    node.outputs = 2
    node.attribute("delimiter", st.sampled_from([".", " "]))
    node.attribute("maxsplit", st.integers(0, 2))
    return [words(node, node.shape(least=1, most=2))]


@draws("RegexFullMatch")
def regex_full_match(node: Node) -> Sequence[Array | None]:
    node.attribute("pattern", st.sampled_from([r"[a-z]+@\w+\.(org|com)", "a.*", ".", "Mon(day)?"]), absent="")
    node.attributes.setdefault("pattern", ".")
    return [words(node, node.shape(least=1, most=2))]


@draws("StringNormalizer")
def string_normalizer(node: Node) -> Sequence[Array | None]:
    """By the specification: the evaluator also takes accents and empty strings away."""
    action = node.attribute("case_change_action", st.sampled_from(["LOWER", "UPPER", "NONE"]))
    exact = node.attribute("is_case_sensitive", BIT)
    node.attribute("locale", st.just("en_US"))
    stopwords = node.attribute(
        "stopwords", st.lists(st.sampled_from(["monday", "A.B.C", "é"]), min_size=1, max_size=2), absent=[]
    )
    data = words(node, (node.size(1, 4),))
    changes: dict[str, Callable[[str], str]] = {"LOWER": str.lower, "UPPER": str.upper, "NONE": str}
    change = changes[action]
    stopped = {word if exact else word.lower() for word in stopwords}
    kept = [change(word) for word in data if (word if exact else word.lower()) not in stopped]
    node.expected = [np.array(kept or [""], object)]
    return [data]
