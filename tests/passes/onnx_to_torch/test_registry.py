from __future__ import annotations

import subprocess
import sys
from collections import defaultdict

import onnx.defs
import pytest
import torch

from passes.onnx_to_torch import ops, registry
from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.registry import builtin, known, op, schema_of


@pytest.fixture(autouse=True)
def every_family_is_loaded() -> None:
    # Before anything here registers: what is refused must be a second converter, not the first.
    builtin()


def converter(_: Call, a: torch.Tensor) -> torch.Tensor:
    return a


def test_a_second_converter_of_the_same_version_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Add-7 of domain 'ai\.onnx' is registered twice"):
        op("Add", 7)(converter)
    with pytest.raises(ValueError, match="registered twice"):
        known("Concat", 13)(converter)


def test_a_version_that_onnx_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ai\.onnx\.Add has no since-version 8"):
        op("Add", 8)(converter)
    with pytest.raises(ValueError, match="no since-version"):
        op("NoSuchOperator", 1)(converter)
    with pytest.raises(ValueError, match="at least one"):
        op("Add")(converter)


def test_a_version_is_found_exactly() -> None:
    assert builtin().find("", "Add", 13) is not None
    assert builtin().find("", "Add", 12) is None
    assert builtin().find_known("", "Add", 14) is not None
    assert builtin().find_known("", "Sin", 7) is None


@pytest.mark.parametrize(("opset", "since"), [(1, 1), (6, 6), (7, 7), (12, 7), (13, 13), (99, 14)])
def test_an_opset_selects_a_version(opset: int, since: int) -> None:
    for domain in ("", "ai.onnx"):
        schema = schema_of(domain, "Add", opset)
        assert schema is not None
        assert schema.since_version == since


def test_operators_that_onnx_does_not_have_have_no_schema() -> None:
    assert schema_of("com.example", "Add", 1) is None
    assert schema_of("", "Trilu", 13) is None


def test_registered_is_sorted_and_every_family_is_loaded() -> None:
    keys = list(builtin())
    assert keys == sorted(keys)
    families = {found.function.__module__ for key in keys if (found := builtin().find(*key)) is not None}
    assert all(module.startswith(f"{ops.__name__}.") for module in families)
    assert {f"{ops.__name__}.{name}" for name in ("shapes", "slicing", "resize", "control_flow")} <= families


def test_no_version_between_others_is_left_out() -> None:
    """A gap in the middle of an operator's versions is a version that somebody forgot."""
    have, exist = defaultdict(set), defaultdict(set)
    for domain, name, since in builtin():
        have[(domain, name)].add(since)
    for schema in onnx.defs.get_all_schemas_with_history():
        exist[(schema.domain, schema.name)].add(schema.since_version)
    forgotten = {
        name: sorted(missing)
        for name, versions in have.items()
        if (missing := {v for v in exist[name] if v > min(versions)} - versions)
    }
    assert forgotten == {}


def test_the_registry_can_be_imported_before_any_family() -> None:
    """Families import the registry: it must not need them to be imported first."""
    program = "import passes.onnx_to_torch.registry as r; assert not list(r.BUILTIN); assert list(r.builtin())"
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True)
    assert registry.normal_domain("ai.onnx") == ""
