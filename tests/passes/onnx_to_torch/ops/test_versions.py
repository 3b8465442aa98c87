from __future__ import annotations

from collections import defaultdict

import onnx.defs

from passes.onnx_to_torch.registry import builtin


def test_an_operator_that_is_converted_is_converted_in_every_version() -> None:
    defined, converted = defaultdict(set), defaultdict(set)
    for schema in onnx.defs.get_all_schemas_with_history():
        defined[schema.domain, schema.name].add(schema.since_version)
    for domain, name, since in builtin():
        converted[domain, name].add(since)
    missing = {name: sorted(defined[name] - versions) for name, versions in converted.items() if name in defined}
    assert not {name: versions for name, versions in missing.items() if versions}
