from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from artifacts.errors import UsageError
from compiler.zoo import yaml_file
from compiler.zoo.yaml_file import Mark, Place, YamlFile, read_yaml

TEXT = st.text(max_size=6)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
JSON: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("yaml") / "zoo.yaml"


def read(path: Path, text: str | bytes) -> YamlFile:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_yaml(path)


def refused(path: Path, text: str | bytes) -> list[tuple[str, str]]:
    """Where and why a text is refused: `LINE:COLUMN`, or "" for the whole file."""
    with pytest.raises(UsageError) as caught:
        read(path, text)
    assert all(problem.stage == "zoo" and problem.hint for problem in caught.value.problems)
    return [
        (problem.subject.removeprefix(str(path)).removeprefix(":"), problem.message)
        for problem in caught.value.problems
    ]


def places(value: Any, place: Place = ()) -> Iterator[Place]:
    yield place
    pairs: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, each in pairs:
        yield from places(each, (*place, step))


@given(JSON, st.booleans())
def test_any_value_of_json_comes_back_with_a_mark_for_each_value(path: Path, value: Any, flow: bool) -> None:
    text = yaml.safe_dump(value, default_flow_style=flow, sort_keys=False)
    found = read(path, text)
    assert found.value == value
    assert json.dumps(found.value) == json.dumps(value), "of the same types"
    assert set(found.marks) == set(places(value))
    lines = text.split("\n")
    assert all(1 <= mark.line <= len(lines) and mark.column >= 1 for mark in found.marks.values())


def test_marks_are_lines_and_columns_of_keys_and_elements(path: Path) -> None:
    found = read(path, "models:\n  - name: é\n    path: [é, {b: 1}]\n\ndefaults: {}\n")
    assert found.marks == {
        (): Mark(1, 1),
        ("models",): Mark(1, 1),
        ("models", 0): Mark(2, 5),
        ("models", 0, "name"): Mark(2, 5),
        ("models", 0, "path"): Mark(3, 5),
        ("models", 0, "path", 0): Mark(3, 12),
        ("models", 0, "path", 1): Mark(3, 15),
        ("models", 0, "path", 1, "b"): Mark(3, 16),
        ("defaults",): Mark(5, 1),
    }


def test_the_subject_of_a_value_that_is_not_there_is_what_it_would_be_in(path: Path) -> None:
    found = read(path, "models:\n- name: a\n")
    assert found.subject(("models", 0, "name")) == f"{path}:2:3"
    assert found.subject(("models", 0, "path")) == f"{path}:2:3"
    assert found.subject(("models", "tuple[str]", 0, "name", "str")) == f"{path}:2:3"
    assert found.subject(("nothing",)) == f"{path}:1:1"


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "\n\n"])
def test_an_empty_file_is_null_at_its_beginning(path: Path, text: str) -> None:
    found = read(path, text)
    assert (found.value, found.subject(("models",))) == (None, f"{path}:1:1" if text != "---\n" else f"{path}:2:1")


def test_a_mark_of_byte_order_and_carriage_returns_are_no_text(path: Path) -> None:
    assert read(path, b"\xef\xbb\xbfa: 1\r\nb: x\r\n").value == {"a": 1, "b": "x"}


# Aliases and `<<`.


def test_an_alias_is_the_value_again(path: Path) -> None:
    found = read(path, "a: &x {k: [1, 2]}\nb: *x\n")
    assert found.value == {"a": {"k": [1, 2]}, "b": {"k": [1, 2]}}
    assert found.marks[("b",)] == Mark(2, 1)
    assert found.marks[("b", "k", 1)] == Mark(1, 15), "where it is written"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{<<: *x, b: 3}", {"a": 1, "b": 3}),
        ("{b: 3, <<: *x}", {"a": 1, "b": 3}),
        ("{<<: [*y, *x]}", {"a": 1, "b": 5, "c": 6}),
        ("{<<: [*x, *y]}", {"a": 1, "b": 2, "c": 6}),
        ("{<<: {<<: *y, b: 7}, d: 8}", {"b": 7, "c": 6, "d": 8}),
        ("*z", {"a": 0, "b": 2}),
        ("{<<: *z, b: 9}", {"a": 0, "b": 9}),
        ("{<<: []}", {}),
    ],
)
def test_a_mapping_takes_from_others_what_it_has_not(path: Path, text: str, value: Any) -> None:
    """As the type `merge` of YAML 1.1 says: a mapping's own come first, then those of the first mapping named."""
    head = "x: &x {a: 1, b: 2}\ny: &y {b: 5, c: 6}\nz: &z {<<: *x, a: 0}\n"
    found = read(path, f"{head}v: {text}\n").value
    assert found["v"] == value


def test_a_key_that_is_taken_and_given_twice_is_told_once(path: Path) -> None:
    assert refused(path, "x: &x {a: 1, a: 2}\ny: {<<: *x}\nz: *x\n") == [("1:14", "'a' is given twice")]


@pytest.mark.parametrize(
    ("text", "where"),
    [("a: &a [1, *a]", "1:4"), ("a: &a {b: *a}", "1:4"), ("a: &a {b: [&b {c: *a}]}", "1:4"), ("a: &a {<<: *a}", "1:8")],
)
def test_a_value_that_is_a_part_of_itself(path: Path, text: str, where: str) -> None:
    assert refused(path, text) == [(where, "is a part of itself")]


@pytest.mark.parametrize("text", ["a: {<<: 3}", "a: {<<: [{}, 3]}", "a: {<<: [[]]}"])
def test_only_mappings_can_be_taken_from(path: Path, text: str) -> None:
    ((_, message),) = refused(path, text)
    assert message == "is no mapping that << could take from"


BOMBS = {
    "lists": ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]", "a{i}: &a{i} [{nine}]"],
    "mappings": ["a0: &a0 {k: x}", "a{i}: &a{i} {{a: *a{j}, b: *a{j}, c: *a{j}, d: *a{j}, e: *a{j}, f: *a{j}}}"],
}


@pytest.mark.parametrize("kind", BOMBS)
def test_few_lines_that_stand_for_a_billion_values_are_refused_at_once(path: Path, kind: str) -> None:
    first, further = BOMBS[kind]
    lines = [further.format(i=i, j=i - 1, nine=", ".join([f"*a{i - 1}"] * 9)) for i in range(1, 12)]
    began = time.monotonic()
    ((_, message),) = refused(path, "\n".join([first, *lines]))
    assert message == "holds too many values, or too deep ones"
    assert time.monotonic() - began < 20, "as many values as a file may have, and not 6^11"


def test_merges_of_merges_stand_for_no_more_than_their_names(path: Path) -> None:
    """Pairs that are copied at each step would be 9^30."""
    lines = [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}], k{i}: {i}}}" for i in range(1, 31)]
    found = read(path, "\n".join(["a0: &a0 {k0: 0}", *lines])).value
    assert found["a30"] == {f"k{i}": i for i in range(31)}


@pytest.mark.parametrize("count", [yaml_file.DEEPEST + 2, 900, 5000, 1_000_000])
@pytest.mark.parametrize("bracket", ["[", "{a: "])
def test_values_in_values_in_values(path: Path, bracket: str, count: int) -> None:
    ((_, message),) = refused(path, bracket * count + ("]" if bracket == "[" else "}") * count)
    assert message in {"holds too many values, or too deep ones", "is not YAML: exceeded maximum nesting depth"}


# What is no JSON.


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("a: 2024-02-03", "1:4", "is read as date"),
        ("a: 2024-02-03 10:00:00", "1:4", "is read as datetime"),
        ("a: 2024-13-45", "1:4", "cannot be read as timestamp"),
        ("a: !!binary aGk=", "1:4", "is read as bytes"),
        ("a: !!int ten", "1:4", "cannot be read as int"),
        ("a: !!bool maybe", "1:4", "cannot be read as bool"),
        ("a: !!float x", "1:4", "cannot be read as float"),
        ("a: 0x_", "1:4", "cannot be read as int"),
        (f"a: {'1' * 5000}", "1:4", "cannot be read as int"),
        ("a: .inf", "1:4", "is no number that JSON has"),
        ("a: .NaN", "1:4", "is no number that JSON has"),
        ("a: 1.0e+999", "1:4", "is no number that JSON has"),
        ("a: [1,\n !!set {x}]", "2:2", "has the tag tag:yaml.org,2002:set"),
        ("a: !!omap [x: 1]", "1:4", "has the tag tag:yaml.org,2002:omap"),
        ("a: !mine {x: 1}", "1:4", "has the tag !mine"),
        ("a: !!python/tuple [1]", "1:4", "has the tag tag:yaml.org,2002:python/tuple"),
        ("a: !!str [1]", "1:4", "has the tag tag:yaml.org,2002:str"),
        ("1: x", "1:1", "is no name"),
        ("a:\n  yes: x", "2:3", "is no name"),
        ("null: x", "1:1", "is no name"),
        ("? [a, b]\n: x", "1:3", "is no name"),
        ("a: 1\nb: 2\n'a': 3", "3:1", "'a' is given twice"),
    ],
)
def test_what_json_has_not(path: Path, text: str, where: str, message: str) -> None:
    assert refused(path, text) == [(where, message)]


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("a: !!python/object/apply:os.system [exit 1]", "1:4", "has the tag"),
        ("a: !!python/object/apply:os.system 'exit 1'", "1:4", "is not YAML: could not determine a constructor"),
        ("a: !!python/name:os.system", "1:4", "is not YAML: could not determine a constructor"),
        ("a: !mine x", "1:4", "is not YAML: could not determine a constructor"),
        ("a: b: c", "1:5", "is not YAML: mapping values are not allowed"),
        ("a: [1", "2:1", "is not YAML: "),
        ("a: *b", "1:4", "is not YAML: found undefined alias"),
        ("a: 1\n---\nb: 2", "2:1", "is not YAML: but found another document"),
        ("a: \x01", "", "is not YAML: "),
        ("a: \0", "", "is not YAML: "),
        (b"a: \xff", "", "is not UTF-8: invalid start byte"),
        ("a: 1".encode("utf-16"), "", "is not UTF-8: "),
    ],
)
def test_what_is_no_yaml_is_one_error(path: Path, text: str | bytes, where: str, message: str) -> None:
    ((at, found),) = refused(path, text)
    assert at == where
    assert found.startswith(message)
    assert "\n" not in found


def test_everything_that_is_wrong_is_told_at_once(path: Path) -> None:
    found = refused(path, "a: 2024-02-03\n1: x\nb: {c: 1, c: 2}\nd: !mine []\n")
    assert sorted(found) == [
        ("1:4", "is read as date"),
        ("2:1", "is no name"),
        ("3:11", "'c' is given twice"),
        ("4:4", "has the tag !mine"),
    ]


def test_a_quoted_text_is_text(path: Path) -> None:
    text = "a: '2024-02-03'\n'1': \"yes\"\n'null': '.inf'\n'<<': x\n"
    assert read(path, text).value == {"a": "2024-02-03", "1": "yes", "null": ".inf", "<<": "x"}


def test_a_file_that_is_too_large_is_not_read_as_yaml(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_file, "MOST_BYTES", 10)
    assert read(path, "a: 3456789").value == {"a": 3456789}
    assert refused(path, "a: 34567890") == [("", "is too large: 11 bytes")]


def test_a_file_that_is_not_there_and_a_folder(tmp_path: Path) -> None:
    for where, message in ((tmp_path / "none.yaml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(UsageError, match=message) as caught:
            read_yaml(where)
        assert caught.value.problems[0].subject == str(where)
