"""ai.onnx.ml on numbers: features selected, joined, scaled, encoded; linear regression."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.constants import as_tensor, float_attribute
from passes.onnx_to_torch.registry import op
from passes.onnx_to_torch.values import Text

_DOMAIN = "ai.onnx.ml"

Table = npt.NDArray[Any]
_TEXT = "OSU"


@op("ArrayFeatureExtractor", 1, domain=_DOMAIN)
def array_feature_extractor(_: Call, data: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """Columns of the last axis. One row comes out as a matrix, as ONNX Runtime has it."""
    rows = data.unsqueeze(0) if data.dim() == 1 else data
    return rows.index_select(-1, indices.reshape(-1))


@op("Binarizer", 1, domain=_DOMAIN)
def binarizer(call: Call, data: torch.Tensor) -> torch.Tensor:
    return (data > call.attr_float("threshold")).to(data.dtype)


@op("Scaler", 1, domain=_DOMAIN)
def scaler(call: Call, data: torch.Tensor) -> torch.Tensor:
    """(data - offset) * scale in float32, each one number or one for each column."""
    return (data.to(torch.float32) - float_attribute(call, "offset")) * float_attribute(call, "scale")


@op("Normalizer", 1, domain=_DOMAIN)
def normalizer(call: Call, data: torch.Tensor) -> torch.Tensor:
    """Rows over their norm, in float32; MAX is the greatest magnitude, as the specification names it a norm."""
    data = data.to(torch.float32)
    order = {"MAX": float("inf"), "L1": 1.0, "L2": 2.0}[call.attr_text("norm")]
    norm: torch.Tensor = torch.linalg.vector_norm(data, order, dim=-1, keepdim=True)
    return data / norm.clamp(min=1e-30)


@op("Imputer", 1, domain=_DOMAIN)
def imputer(call: Call, data: torch.Tensor) -> torch.Tensor:
    """One value, NaN included, replaced: by one number, or by one for each column."""
    if not data.is_floating_point():
        numbers = as_tensor(np.array(call.attr_ints("imputed_value_int64s"), np.int64)).to(data.dtype)
        return torch.where(data == call.attr_int("replaced_value_int64"), numbers, data)
    replaced = call.attr_float("replaced_value_float")
    missing = torch.isnan(data) if math.isnan(replaced) else data == replaced
    return torch.where(missing, float_attribute(call, "imputed_value_floats").to(data.dtype), data)


@op("FeatureVectorizer", 1, domain=_DOMAIN)
def feature_vectorizer(call: Call, *parts: torch.Tensor) -> torch.Tensor:
    """Each part [N, d] cut or filled up with zeros to its number of columns, side by side, as float32."""
    columns = []
    for part, wanted in zip(parts, call.attr_ints("inputdimensions"), strict=True):
        matrix = (part.unsqueeze(1) if part.dim() == 1 else part).to(torch.float32)
        columns.append(torch.constant_pad_nd(matrix, [0, wanted - matrix.shape[1]], 0.0))
    return torch.cat(columns, 1)


@op("LinearRegressor", 1, domain=_DOMAIN)
def linear_regressor(call: Call, data: torch.Tensor) -> torch.Tensor:
    if call.attr_text("post_transform") != "NONE":
        call.unsupported(f"post_transform={call.attr_text('post_transform')}")
    weights = float_attribute(call, "coefficients").reshape(call.attr_int("targets"), -1)
    scores = torch.matmul(data.to(torch.float32), weights.t())
    return scores + float_attribute(call, "intercepts") if call.has("intercepts") else scores


@op("LabelEncoder", 1, domain=_DOMAIN, texts=(0,))
def label_encoder_of_classes(call: Call, labels: torch.Tensor | Text) -> torch.Tensor:
    """The position of each string in a list of classes."""
    if not isinstance(labels, Text):
        call.unsupported("values that are strings", "strings stay outside the model: decode labels after it")
    places = {name: place for place, name in reversed(list(enumerate(call.attr_texts("classes_strings"))))}
    default = call.attr_int("default_int64")
    found = np.array([places.get(label, default) for label in labels.array.reshape(-1)], np.int64)
    return as_tensor(found.reshape(labels.array.shape))


@op("LabelEncoder", 2, 4, domain=_DOMAIN, texts=(0,))
def label_encoder(call: Call, labels: torch.Tensor | Text) -> torch.Tensor | Text:
    """A value for each key; a key that is not there gives the default. NaN is a key like any other."""
    keys, values = _table(call, "keys"), _table(call, "values")
    default = _default(call, values)
    if isinstance(labels, Text):
        table = dict(zip(reversed(keys), reversed(values), strict=True))
        found = np.array([table.get(label, default) for label in labels.array.reshape(-1)], values.dtype)
        found = found.reshape(labels.array.shape)
        return Text(found) if found.dtype == object else as_tensor(found)
    if values.dtype == object:
        call.unsupported("values that are strings", "strings stay outside the model: decode labels after it")
    return _looked_up(labels, keys, values, default)


def _looked_up(labels: torch.Tensor, keys: Table, values: Table, default: Any) -> torch.Tensor:
    wanted = as_tensor(keys)
    hits = labels.unsqueeze(-1) == wanted.to(labels.dtype)
    if labels.is_floating_point():
        hits = hits | (torch.isnan(labels).unsqueeze(-1) & torch.isnan(wanted))
    # The first of equal keys counts.
    found = as_tensor(values)[hits.to(torch.int32).argmax(-1)]
    return torch.where(hits.any(-1), found, torch.full((), default.item(), dtype=found.dtype))


def _table(call: Call, side: str) -> Table:
    if call.has(f"{side}_tensor"):
        array = call.attr_array(f"{side}_tensor").reshape(-1)
        return _strings(array) if array.dtype.kind in _TEXT else array
    if call.has(f"{side}_strings"):
        return np.array(call.attr_texts(f"{side}_strings"), object)
    if call.has(f"{side}_int64s"):
        return np.array(call.attr_ints(f"{side}_int64s"), np.int64)
    if call.has(f"{side}_floats"):
        return np.array(call.attr_floats(f"{side}_floats"), np.float32)
    return call.unsupported(f"no {side}")


def _default(call: Call, values: Table) -> Any:
    if call.has("default_tensor"):
        array = call.attr_array("default_tensor").reshape(-1)
        return _strings(array)[0] if array.dtype.kind in _TEXT else array[0]
    if values.dtype == object:
        return call.attr_text("default_string")
    default = call.attr_int("default_int64") if values.dtype.kind == "i" else call.attr_float("default_float")
    return values.dtype.type(default)


def _strings(array: Table) -> Table:
    return np.array([item.decode() if isinstance(item, bytes) else str(item) for item in array], object)
