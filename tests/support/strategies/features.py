"""ai.onnx.ml on numbers, trees apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.support.onnx_ops import Array
from tests.support.strategies.node import Node
from tests.support.strategies.table import draws

DOMAIN = "ai.onnx.ml"


def floats(count: int) -> st.SearchStrategy[list[float]]:
    return st.lists(st.sampled_from([-1.5, 0.0, 0.5, 1.0, 2.0]), min_size=count, max_size=count)


@draws("Binarizer", domain=DOMAIN)
def binarizer(node: Node) -> Sequence[Array | None]:
    node.attribute("threshold", st.sampled_from([0.0, 1.0]))
    return [node.tensor(0, node.shape(least=1))]


@draws("Scaler", domain=DOMAIN)
def scaler(node: Node) -> Sequence[Array | None]:
    columns = node.size()
    count = node.choice(1, columns)
    node.set("offset", node.draw(floats(count)))
    node.set("scale", node.draw(floats(count)))
    data = node.tensor(0, (node.size(), columns))
    offset, scale = (np.array(node.attributes[name], np.float32) for name in ("offset", "scale"))
    node.expected = [(data.astype(np.float32) - offset) * scale]  # float32, whatever the data
    return [data]


@draws("Normalizer", domain=DOMAIN)
def normalizer(node: Node) -> Sequence[Array | None]:
    norm = node.attribute("norm", st.sampled_from(["MAX", "L1", "L2"]))
    data = node.tensor(0, (node.size(), node.size()), 1, 4)
    order = {"MAX": np.inf, "L1": 1, "L2": 2}[norm]
    wide = data.astype(np.float64)
    node.expected = [(wide / np.linalg.norm(wide, order, -1, keepdims=True)).astype(np.float32)]
    return [data]


@draws("Imputer", domain=DOMAIN)
def imputer(node: Node) -> Sequence[Array | None]:
    node.asked |= {"imputed_value_floats", "imputed_value_int64s", "replaced_value_float", "replaced_value_int64"}
    dtype = node.dtype(0)
    columns = node.size()
    count = node.choice(1, columns)
    replaced = node.choice(1, 2, float("nan")) if dtype.kind == "f" else node.choice(1, 2)
    data = node.array((node.size(), columns), dtype, 0, 3)
    if dtype.kind == "f":
        data = np.floor(data)
        data.flat[0] = replaced
        node.attributes |= {"imputed_value_floats": node.draw(floats(count)), "replaced_value_float": float(replaced)}
        values = node.attributes["imputed_value_floats"]
    else:
        values = node.draw(st.lists(st.integers(0, 9), min_size=count, max_size=count))
        node.attributes |= {"imputed_value_int64s": values, "replaced_value_int64": replaced}
    missing = np.isnan(data) if np.isnan(replaced) else data == replaced
    node.expected = [np.where(missing, np.array(values, dtype), data)]
    return [data]


@draws("FeatureVectorizer", domain=DOMAIN)
def feature_vectorizer(node: Node) -> Sequence[Array | None]:
    """Parts cut or filled up with zeros to as many columns as are asked for."""
    rows, count = node.size(), node.size(1, 3)
    wanted = [node.size(1, 4) for _ in range(count)]
    node.set("inputdimensions", wanted)
    parts = [node.tensor(0, (rows, node.size())) for _ in range(count)]
    columns = [np.pad(part, [(0, 0), (0, 4)])[:, :width] for part, width in zip(parts, wanted, strict=True)]
    node.expected = [np.concatenate(columns, 1).astype(np.float32)]  # the evaluator keeps the type
    return parts


@draws("LinearRegressor", domain=DOMAIN)
def linear_regressor(node: Node) -> Sequence[Array | None]:
    targets, features = node.size(1, 3), node.size()
    node.set("targets", targets)
    node.set("coefficients", node.draw(floats(targets * features)))
    node.attribute("intercepts", floats(targets))
    node.attribute("post_transform", st.just("NONE"))
    data = node.tensor(0, (node.size(), features))
    weights = np.array(node.attributes["coefficients"]).reshape(targets, features)
    total = data.astype(np.float64) @ weights.T + np.array(node.attributes.get("intercepts", [0]))
    node.expected = [total.astype(np.float32)]
    node.tolerance = 1e-4
    return [data]


@draws("TfIdfVectorizer")
def tf_idf_vectorizer(node: Node) -> Sequence[Array | None]:
    pool: dict[str, Any] = {
        "pool_int64s": [2, 3, 5, 4, 5, 6, 7, 8, 6, 7, 2, 2, 3, 4, 5, 6],
        "ngram_counts": [0, 4, 10],
        "ngram_indexes": [0, 1, 2, 3, 4, 5, 6, 7, 8],
    }
    sizes = node.choice((1, 1), (1, 2), (2, 2), (1, 3), (3, 3), (2, 3))
    mode = node.choice("TF", "IDF", "TFIDF")
    skip = node.size(0, 3)
    node.attributes |= {**pool, "min_gram_length": sizes[0], "max_gram_length": sizes[1], "max_skip_count": skip}
    node.attributes["mode"] = mode
    if mode != "TF":
        node.attributes["weights"] = [0.5 * n for n in range(9)]
    node.asked |= {*node.attributes, "weights", "pool_strings"}  # strings are refused
    return [node.array(node.choice((node.size(1, 9),), (2, node.size(1, 9))), node.dtype(0), 2, 8)]


@draws("LabelEncoder", domain=DOMAIN)
def label_encoder(node: Node) -> Sequence[Array | None]:
    """A value for each key, of strings only where they become numbers or are known."""
    assert node.schema is not None
    node.asked |= set(node.schema.attributes)
    names = ["a", "b", "c"]
    if node.since == 1:
        node.attributes |= {"classes_strings": names, "default_int64": -5}
        labels = np.array([node.choice(*names, "?") for _ in range(3)], object)
        node.expected = [np.array([names.index(x) if x in names else -5 for x in labels], np.int64)]
        return [labels]
    keys: dict[str, list[Any]] = {"int64": [1, 2, 3], "float": [0.5, 1.5, float("nan")], "string": names}
    values: dict[str, tuple[list[Any], Any]] = {"int64": ([7, 8, 9], -4), "float": ([0.25, 0.5, 1.0], 9.0)}
    kind, wanted = node.choice(*keys), node.choice(*values)
    node.attributes |= {f"keys_{kind}s": keys[kind], f"values_{wanted}s": values[wanted][0]}
    node.attributes[f"default_{wanted}"] = values[wanted][1]
    places = [node.size(0, 3) for _ in range(4)]
    known = [*keys[kind], {"int64": 9, "float": 9.5, "string": "?"}[kind]]
    found = [*values[wanted][0], values[wanted][1]]
    node.expected = [np.array([found[i] for i in places], np.int64 if wanted == "int64" else np.float32)]
    types: dict[str, Any] = {"int64": np.int64, "float": np.float32, "string": object}
    return [np.array([known[i] for i in places], types[kind])]
