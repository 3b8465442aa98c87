from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import onnx.defs
import onnx_ir as ir
import pytest
import torch
from onnx import helper

from artifacts.errors import Problem, UsageError
from passes.onnx_to_torch.custom_code import find_custom_ops
from passes.onnx_to_torch.custom_ops import load_custom_ops
from passes.onnx_to_torch.gaps import find_gaps
from passes.onnx_to_torch.importer import Importer
from passes.onnx_to_torch.registry import Registry, builtin
from tests.support.models import floats, graph_model, ints
from tests.support.onnx_ops import compare, run, sample

HEADER = """
import torch
from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.registry import Registry

OPERATORS = Registry()
"""
TWICE = (
    HEADER
    + """
@OPERATORS.op("Twice", 1, domain="com.example")
def twice(call, x):
    return x + x
"""
)
KEY = ("com.example", "Twice", 1)


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def loaded(*named: str | Path) -> Registry:
    return load_custom_ops(find_custom_ops([str(name) for name in named]))


def problems(*named: str | Path) -> tuple[Problem, ...]:
    with pytest.raises(UsageError) as caught:
        loaded(*named)
    return caught.value.problems


@pytest.fixture
def importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that Python imports from; what is imported from it is forgotten afterwards."""
    folder = tmp_path / "importable"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_a_file_adds_converters_to_one_registry_and_to_no_other(tmp_path: Path) -> None:
    file = written(tmp_path / "ops.py", TWICE)
    assert loaded(file).find(*KEY) is not None
    assert loaded(file).find("", "Relu", 14) is builtin().find("", "Relu", 14)
    assert builtin().find(*KEY) is None
    assert loaded().find(*KEY) is None
    assert loaded(file).find(*KEY) is not None  # a second compilation in the process finds it again


def test_a_registered_operator_converts_and_reads_its_attributes(tmp_path: Path) -> None:
    text = (
        HEADER
        + """
@OPERATORS.op("Scale", 3, domain="com.example")
def scale(call, x):
    return x * call.attr_float("by", 2.0), x.abs()
"""
    )
    nodes = [helper.make_node("Scale", ["x"], ["y", "z"], domain="com.example", by=3.0)]
    model = graph_model(nodes, [floats("x", 2)], [floats("y", 2), floats("z", 2)])
    model.opset_import.append(helper.make_opsetid("com.example", 3))
    registry = loaded(written(tmp_path / "ops.py", text))
    assert [problem.subject for problem in find_gaps(ir.from_proto(model))] == ["com.example.Scale-3"]
    assert find_gaps(ir.from_proto(model), registry) == ()
    x = sample((2,))
    compare(run(Importer(ir.from_proto(model), registry), [x]), [x * 3, abs(x)])


def test_known_values_stay_known(tmp_path: Path) -> None:
    """Shape arithmetic of a domain of one's own: the result of the second node is a size."""
    text = (
        HEADER
        + """
from passes.onnx_to_torch.values import Known

@OPERATORS.known("Halve", 1, domain="com.example")
def halve(call, x):
    return Known(x.array // 2, x.dtype)

@OPERATORS.op("Halve", 1, domain="com.example")
def refuse(call, x):
    raise AssertionError("not on tensors")
"""
    )
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Halve", ["shape"], ["half"], domain="com.example"),
        helper.make_node("ConstantOfShape", ["half"], ["y"]),
    ]
    model = graph_model(nodes, [floats("x", 4, 6)], [floats("y", 2, 3)])
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    importer = Importer(ir.from_proto(model), loaded(written(tmp_path / "ops.py", text)))
    compare(run(importer, [sample((4, 6))]), [sample((2, 3)) * 0])


def test_a_module_and_a_package_are_named_as_python_imports_them(importable: Path) -> None:
    written(importable / "plain_ops.py", TWICE)
    written(importable / "acme" / "__init__.py", "")
    written(importable / "acme" / "ops" / "__init__.py", "from acme.ops.shared import OPERATORS")
    written(importable / "acme" / "ops" / "shared.py", TWICE.replace("Twice", "Thrice"))
    registry = loaded("plain_ops", "acme.ops")
    assert registry.find(*KEY) is not None
    assert registry.find("com.example", "Thrice", 1) is not None
    assert [[file.name for file in code.files] for code in find_custom_ops(["plain_ops", "acme.ops"])] == [
        ["plain_ops.py"],
        ["__init__.py", "shared.py"],
    ]
    assert loaded("plain_ops").find(*KEY) is not None  # imported once, registered in every compilation that asks


def test_the_digest_is_over_contents(tmp_path: Path, importable: Path) -> None:
    def digest(name: str | Path) -> str:
        (code,) = find_custom_ops([str(name)])
        return code.digest

    first, moved = written(tmp_path / "a" / "ops.py", TWICE), written(tmp_path / "b" / "other.py", TWICE)
    assert digest(first) == digest(moved)
    before = digest(first)
    written(first, TWICE + "\n")
    assert digest(first) != before

    written(importable / "acme_digest" / "__init__.py", "")
    inner = written(importable / "acme_digest" / "deep" / "part.py", "1")
    before = digest("acme_digest")
    written(inner, "2")
    assert digest("acme_digest") != before


def test_a_changed_file_is_other_code_and_a_changed_module_needs_another_process(
    tmp_path: Path, importable: Path
) -> None:
    file = written(tmp_path / "ops.py", TWICE)
    assert loaded(file).find(*KEY) is not None
    written(file, TWICE.replace("Twice", "Thrice"))
    assert loaded(file).find(*KEY) is None
    assert loaded(file).find("com.example", "Thrice", 1) is not None

    module = written(importable / "changing_ops.py", TWICE)
    assert loaded("changing_ops").find(*KEY) is not None
    written(module, TWICE.replace("Twice", "Thrice"))
    (problem,) = problems("changing_ops")
    assert "changed after it was loaded" in problem.message
    assert "new process" in problem.hint


FAULTS = {
    "ModuleNotFoundError: No module named 'no_such_package'": "import no_such_package",
    "SyntaxError: ": "def twice(:",
    "ZeroDivisionError: division by zero (ops.py, line 3)": "\n\n1 / 0",
    "NameError: name 'op' is not defined (ops.py, line 1)": "@op('Twice', 1)\ndef twice(call, x): ...",
    "SystemExit: 0": "import sys\nsys.exit(0)",
    "Twice-1 of domain 'com.example' is registered twice (ops.py, line 12)": TWICE
    + "\nOPERATORS.op('Twice', 1, domain='com.example')(twice)",
    "ai.onnx.Relu has no since-version 2 (ops.py, line 8)": HEADER + "\nOPERATORS.op('Relu', 2)(torch.relu)",
    "has no OPERATORS that is a Registry": "OPERATORS = {}",
    "registers nothing in OPERATORS": HEADER,
}


@pytest.mark.parametrize(("message", "text"), FAULTS.items(), ids=[text.split(":")[0][:30] for text in FAULTS])
def test_code_that_fails_is_one_error(tmp_path: Path, message: str, text: str) -> None:
    file = written(tmp_path / "ops.py", text)
    modules = set(sys.modules)
    for _ in range(2):  # and the same again: nothing half-imported is left behind
        (problem,) = problems(file)
        assert (problem.stage, problem.subject) == ("custom-ops", "ops.py")
        assert message in problem.message
        assert problem.hint
    if "OPERATORS" not in message:
        assert not [name for name in set(sys.modules) - modules if name.startswith("unspool_custom_ops")]


@pytest.mark.parametrize(
    "name", ["no_such_module_anywhere", "no_such_package.ops", "torch.no_such_module", "sys", "ops.txt", "a/b", ""]
)
def test_what_is_not_there_is_a_wrong_call(name: str) -> None:
    (problem,) = problems(name)
    assert problem.subject == name
    assert "module" in problem.message
    assert "PYTHONPATH" in problem.hint


def test_a_file_that_is_not_there_is_a_wrong_call(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path / "nothing.py")
    assert "No such file" in problem.message


def test_a_package_that_fails_around_a_module_is_named(importable: Path) -> None:
    written(importable / "broken_package" / "__init__.py", "raise ValueError('no luck')")
    written(importable / "broken_package" / "ops.py", TWICE)
    (problem,) = problems("broken_package.ops")
    assert problem.message == "ValueError: no luck"


def test_nothing_is_overridden_and_all_attempts_are_told_at_once(tmp_path: Path) -> None:
    first = written(tmp_path / "first.py", TWICE)
    second = written(
        tmp_path / "second.py",
        TWICE
        + "\nOPERATORS.op('Relu', 13, 14)(twice)\nOPERATORS.known('Add', 14)(twice)"
        + "\nOPERATORS.op('Relu', 6, domain='ai.onnx')(twice)",
    )
    found = {problem.subject: problem.message for problem in problems(first, second)}
    assert found == {
        "second.py: com.example.Twice-1": "is converted by first.py already",
        "second.py: Relu-13": "is converted by Unspool already",
        "second.py: Relu-14": "is converted by Unspool already",
        "second.py: Relu-6": "is converted by Unspool already",
        "second.py: Add-14": "is converted by Unspool already",
    }


def test_an_onnx_operator_without_a_converter_may_be_given_one(tmp_path: Path) -> None:
    """Such are those that ONNX's function bodies serve."""
    every = ((s.domain, s.name, s.since_version) for s in onnx.defs.get_all_schemas_with_history())
    domain, name, since = next(key for key in sorted(every) if builtin().find(*key) is None)
    text = f"{HEADER}\nOPERATORS.op({name!r}, {since}, domain={domain!r})(lambda call, x: x)"
    assert loaded(written(tmp_path / "ops.py", text)).find(domain, name, since) is not None


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    one, other = written(tmp_path / "a" / "ops.py", TWICE), written(tmp_path / "b" / "ops.py", TWICE)
    (problem,) = problems(one, other)
    assert (problem.subject, problem.message) == ("ops.py", "is given twice")


def test_nothing_is_imported_because_a_model_names_it(importable: Path) -> None:
    written(importable / "evil_ops.py", TWICE.replace("com.example", "evil_ops"))
    nodes = [helper.make_node("Twice", ["x"], ["y"], domain="evil_ops")]
    model = graph_model(nodes, [ints("x", 2)], [ints("y", 2)])
    model.opset_import.append(helper.make_opsetid("evil_ops", 1))
    model.metadata_props.add(key="custom_ops", value="evil_ops")
    (problem,) = find_gaps(ir.from_proto(model), loaded())
    assert problem.subject == "evil_ops.Twice-1"
    assert "--custom-ops" in problem.hint
    assert "evil_ops" not in sys.modules


def test_a_translation_is_for_an_overload_of_ones_own() -> None:
    registry = Registry()
    for wrong in (torch.ops.aten.relu.default, torch.relu, print):
        with pytest.raises(ValueError, match=r"torch\.ops\.NAMESPACE\.NAME\.default"):
            registry.translation(wrong)
    assert not registry.translations
