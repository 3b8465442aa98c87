from __future__ import annotations

import onnx.defs

from compiler.ops import DOMAINS, converted_operators, missing_operators

RUNTIME_OWN = {("", "SimplifiedLayerNormalization", 1)}
"""What ONNX Runtime's own exporters write into ONNX's domain although ONNX does not define it."""


def test_operators_and_versions_are_those_that_onnx_defines() -> None:
    defined = {(s.domain, s.name, s.since_version) for s in onnx.defs.get_all_schemas_with_history()}
    for listed in (converted_operators(), missing_operators()):
        assert list(listed) == sorted(listed)
        for full_name, versions in listed.items():
            domain, _, name = full_name.rpartition(".")
            assert versions == sorted(set(versions))
            assert domain not in DOMAINS or {(domain, name, version) for version in versions} <= defined | RUNTIME_OWN


def test_what_converts_is_not_missing() -> None:
    converted, missing = converted_operators(), missing_operators()
    for name in set(converted) & set(missing):
        assert not set(converted[name]) & set(missing[name])


def test_the_newest_version_of_the_common_operators_converts() -> None:
    converted = converted_operators()
    for name in ("Add", "MatMul", "Gather", "Reshape", "Softmax", "Conv", "LayerNormalization", "Where"):
        assert onnx.defs.get_schema(name).since_version in converted[name], name


def test_what_needs_no_converter_is_not_missing() -> None:
    missing = missing_operators()
    assert "Constant" not in missing, "the importer reads it"
    assert "Celu" not in missing, "its function body stands in"
    assert not any(name.startswith("ai.onnx.preview.training") for name in missing)
