from __future__ import annotations

from collections import defaultdict

import onnx.defs

from passes.onnx_to_torch.function_bodies import has_function
from passes.onnx_to_torch.registry import builtin

_RANDOM = "draws random numbers: no answer to hold a compilation to"
_CLASSES = "gives class labels and scores, and a table of strings or a map with them"
_MAPS = "takes or gives maps, which are no tensors"
REFUSED = {
    ("", "ImageDecoder"): "decodes image files: data preparation, not a model",
    ("", "MaxRoiPool"): "bins of a size that depends on data",
    ("", "Multinomial"): _RANDOM,
    ("", "RandomNormal"): _RANDOM,
    ("", "RandomNormalLike"): _RANDOM,
    ("", "RandomUniform"): _RANDOM,
    ("", "RandomUniformLike"): _RANDOM,
    ("ai.onnx.ml", "CastMap"): _MAPS,
    ("ai.onnx.ml", "CategoryMapper"): "maps between strings and integers",
    ("ai.onnx.ml", "DictVectorizer"): _MAPS,
    ("ai.onnx.ml", "LinearClassifier"): _CLASSES,
    ("ai.onnx.ml", "OneHotEncoder"): "encodes strings, or integers for models that have them",
    ("ai.onnx.ml", "SVMClassifier"): _CLASSES,
    ("ai.onnx.ml", "SVMRegressor"): "no file of those seen has it",
    ("ai.onnx.ml", "TreeEnsembleClassifier"): _CLASSES,
    ("ai.onnx.ml", "ZipMap"): _MAPS,
    ("ai.onnx.preview.training", "Gradient"): "differentiates a graph: training",
}
"""Operators that nothing converts, in any version, and why."""


def test_an_operator_that_is_converted_is_converted_in_every_version() -> None:
    defined, converted = defaultdict(set), defaultdict(set)
    for schema in onnx.defs.get_all_schemas_with_history():
        defined[schema.domain, schema.name].add(schema.since_version)
    for domain, name, since in builtin():
        converted[domain, name].add(since)
    missing = {name: sorted(defined[name] - versions) for name, versions in converted.items() if name in defined}
    assert not {name: versions for name, versions in missing.items() if versions}


def test_every_version_of_every_operator_converts_or_is_refused_for_a_reason() -> None:
    """ONNX's own list of schemas, all domains, against the registry, function bodies and the reasons above."""
    missing = {
        (schema.domain, schema.name)
        for schema in onnx.defs.get_all_schemas_with_history()
        if (schema.domain, schema.name, schema.since_version) not in set(builtin())
        and not has_function(schema)
        and not schema.deprecated
        and schema.name != "Constant"  # the importer reads it itself
    }
    assert missing == set(REFUSED)
