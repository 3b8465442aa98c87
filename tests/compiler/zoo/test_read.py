from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts.errors import UsageError
from compiler.flags.compiling import CompileFlags
from compiler.options import ModelFile
from compiler.parts.folder import Role
from compiler.zoo.jobs import Job, JobLimits, Needs, SourceModel, filled, is_url, variables
from compiler.zoo.read import Zoo, read_thresholds, read_zoo

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes zoo.yaml into a folder with models that nobody looks into: a.onnx, b.onnx, m/x.onnx, m/y.onnx, s.npz."""
    for name in ("a.onnx", "b.onnx", "m/x.onnx", "m/y.onnx", "s.npz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    def write(text: str) -> Path:
        (tmp_path / "zoo.yaml").write_text(text)
        return tmp_path / "zoo.yaml"

    return write


def names(zoo: Zoo) -> list[str]:
    return [job.name for job in zoo.jobs]


def refused(path: Path) -> list[tuple[str, str]]:
    """Where and why a zoo is refused, as `LINE:COLUMN`."""
    with pytest.raises(UsageError) as caught:
        read_zoo(path)
    found = caught.value.problems
    assert all(problem.stage == "zoo" and problem.hint for problem in found)
    assert all(problem.subject.startswith(f"{path}:") for problem in found)
    return [(problem.subject.removeprefix(f"{path}:"), problem.message) for problem in found]


def only(path: Path) -> tuple[str, str]:
    """The only problem of a zoo."""
    (found,) = refused(path)
    return found


def test_the_smallest_zoo(write: Write, tmp_path: Path) -> None:
    zoo = read_zoo(write("models: [{name: a, path: a.onnx}, {name: other, path: b.onnx}]"))
    assert names(zoo) == ["a/onnxruntime-fp32", "other/onnxruntime-fp32"]
    first, second = zoo.jobs
    assert second.sources == (SourceModel("other", str(tmp_path / "b.onnx")),)
    assert first.flags == CompileFlags(target="onnxruntime", precision="fp32")
    assert (first.limits, first.needs, first.labels) == (JobLimits(None, 7200.0, 1), Needs(1.0, 0.0, ()), ())
    assert (zoo.store, zoo.path, zoo.job(second.name)) == (None, tmp_path / "zoo.yaml", second)
    assert first.place == f"{tmp_path / 'zoo.yaml'}:1:10"
    with pytest.raises(StopIteration):
        zoo.job("none")


def test_paths_are_relative_to_the_file(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("models: [{path: m/x.onnx, samples: s.npz, options: {custom-ops: [ops.py, json]}}]")
    (tmp_path / "ops.py").touch()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (job,) = read_zoo(Path("../zoo.yaml")).jobs
    assert job.sources[0].location == str(tmp_path / "m" / "x.onnx")
    assert job.flags.samples == tmp_path / "s.npz"
    assert job.flags.custom_ops == [str(tmp_path / "ops.py"), "json"], "a module has no folder"


def test_a_path_may_be_absolute_or_a_url_of_a_file(write: Write, tmp_path: Path) -> None:
    (tmp_path / "a b.onnx").touch()
    zoo = read_zoo(write(f"models: [{{path: {tmp_path}/a.onnx}}, {{path: 'file://{tmp_path}/a%20b.onnx'}}]"))
    assert [job.sources[0].location for job in zoo.jobs] == [str(tmp_path / "a.onnx"), str(tmp_path / "a b.onnx")]
    assert names(zoo) == ["a/onnxruntime-fp32", "a_b/onnxruntime-fp32"]


def test_what_a_url_names_is_seen_when_it_is_fetched(write: Write) -> None:
    (job,) = read_zoo(write("models: [{path: 's3://bucket/deep/words/model.onnx'}]")).jobs
    assert (job.entry, job.sources[0].location) == ("words", "s3://bucket/deep/words/model.onnx")
    assert job.sources[0].is_remote


# Entries.


def test_a_pattern_is_an_entry_for_each_match(write: Write, tmp_path: Path) -> None:
    zoo = read_zoo(write("models: [{path: 'm/*.onnx', labels: all}, {path: '**/b.onnx'}]"))
    assert names(zoo) == ["x/onnxruntime-fp32", "y/onnxruntime-fp32", "b/onnxruntime-fp32"]
    assert zoo.jobs[0].sources == (SourceModel("x", str(tmp_path / "m" / "x.onnx")),)
    assert only(write("models:\n- path: 'n/*.onnx'")) == ("2:3", "n/*.onnx matches nothing")
    assert only(write("models:\n- {name: z, path: 'm/*.onnx'}")) == (
        "2:13",
        "m/*.onnx matches 2 models, and they have one name",
    )
    assert names(read_zoo(write("models: [{name: z, path: 'm/x*.onnx'}]"))) == ["z/onnxruntime-fp32"]


def test_brackets_in_the_names_of_files_are_no_pattern(tmp_path: Path) -> None:
    folder = tmp_path / "v[12]*"
    folder.mkdir()
    for name in ("a.onnx", "b[1].onnx", "b1.onnx"):
        (folder / name).touch()
    (folder / "zoo.yaml").write_text("models: [{path: a.onnx}, {path: 'b[1].onnx'}, {path: 'b?.onnx'}]")
    found = [job.sources[0].location for job in read_zoo(folder / "zoo.yaml").jobs]
    assert found == [str(folder / name) for name in ("a.onnx", "b[1].onnx", "b1.onnx")]


@pytest.mark.parametrize(
    ("path", "name"),
    [("words", "words"), ("v1.2", "v1.2"), ("words/model.onnx", "words"), ("w o.r!ds.onnx", "w_o.r_ds"), ("._x", "_x")],
)
def test_a_model_without_a_name_is_named_after_its_file_or_folder(
    write: Write, tmp_path: Path, path: str, name: str
) -> None:
    (tmp_path / path).parent.mkdir(exist_ok=True)
    if path.endswith(".onnx"):
        (tmp_path / path).touch()
    else:
        (tmp_path / path).mkdir()
    (job,) = read_zoo(write(f"models: [{{path: '{path}'}}]")).jobs
    assert job.entry == name


def test_parts_are_one_model(write: Write, tmp_path: Path) -> None:
    (job,) = read_zoo(write("models: [{name: s, parts: {decoder: a.onnx, encoder: b.onnx}}]")).jobs
    (source,) = job.sources
    assert dict(source.parts) == {Role.DECODER: str(tmp_path / "a.onnx"), Role.ENCODER: str(tmp_path / "b.onnx")}
    found = source.at({location: Path(location) for location in source.locations})
    assert found.paths == (tmp_path / "a.onnx", tmp_path / "b.onnx")
    assert refused(
        write("models:\n- name: s\n  parts: {decoder: a.onnx}\n- parts: {encoder: n.onnx, decoder: a.onnx}")
    ) == [
        ("3:3", "the encoder is missing"),
        ("4:3", "a model in parts needs a name"),
        ("4:11", f"{tmp_path / 'n.onnx'} is not there"),
    ]


def test_several_models_in_one_bundle_have_names(write: Write, tmp_path: Path) -> None:
    (job,) = read_zoo(write("models: [{name: both, path: {one: a.onnx, two: b.onnx}}]")).jobs
    assert job.name == "both/onnxruntime-fp32"
    assert job.sources == (SourceModel("one", str(tmp_path / "a.onnx")), SourceModel("two", str(tmp_path / "b.onnx")))
    text = "models:\n- path: {one: a.onnx}\n- name: x\n  path: {}\n- name: y\n  path: {one: a.onnx, two: c.onnx}"
    assert refused(write(text)) == [
        ("2:3", "several models in one bundle need a name"),
        ("4:3", "names no model"),
        ("6:23", f"{tmp_path / 'c.onnx'} is not there"),
    ]


def test_an_entry_has_a_path_or_parts(write: Write) -> None:
    text = "models:\n- {name: a}\n- {name: b, path: a.onnx, parts: {encoder: a.onnx, decoder: b.onnx}}"
    message = "an entry has a path or parts, and one of them alone"
    assert refused(write(text)) == [("2:3", message), ("3:3", message)]


def test_a_file_that_is_not_there(write: Write, tmp_path: Path) -> None:
    assert only(write("models:\n  - name: a\n    path: c.onnx")) == ("3:5", f"{tmp_path / 'c.onnx'} is not there")


def test_two_jobs_of_one_name(write: Write, tmp_path: Path) -> None:
    path = write("models:\n- {path: a.onnx}\n- {name: a, path: b.onnx, targets: [torchscript, onnxruntime]}")
    assert only(path) == ("3:3", f"a/onnxruntime-fp32 is there already, of {path}:2:3")
    zoo = read_zoo(write("models: [{path: a.onnx}, {name: a, path: b.onnx, targets: torchscript}]"))
    assert names(zoo) == ["a/onnxruntime-fp32", "a/torchscript-fp32"]


@pytest.mark.parametrize("name", ["store", "zoo.sqlite", "zoo.sqlite-wal"])
@pytest.mark.parametrize(
    "entry",
    [
        "name: {}, path: a.onnx",
        "name: {}, path: {{m: a.onnx}}",
        "name: {}, parts: {{encoder: a.onnx, decoder: b.onnx}}",
    ],
)
def test_no_entry_is_called_as_what_lies_beside_the_bundles(write: Write, name: str, entry: str) -> None:
    _, message = only(write(f"models: [{{{entry.format(name)}}}]"))
    assert message == f"{name} is what the zoo has there itself"


def test_a_file_whose_name_is_none_for_a_folder(write: Write, tmp_path: Path) -> None:
    for name, message in (
        ("store.onnx", "store is what the zoo has there itself"),
        ("....onnx", f"{tmp_path / '....onnx'} gives no name for a folder"),
    ):
        (tmp_path / name).touch()
        assert {found for _, found in refused(write(f"models: [{{path: {name}}}]"))} == {message}
        assert names(read_zoo(write(f"models: [{{name: ok, path: {name}}}]"))) == ["ok/onnxruntime-fp32"]


# The matrix.


def test_a_job_for_each_cell_in_order(write: Write) -> None:
    text = """
models:
  - path: a.onnx
    targets: [onnxruntime, torchscript]
    precisions: [fp32, int8, fp32]
    batches: [1, 8]
    options: {opt-shapes: "x:{batch}x16"}
    exclude:
      - {target: torchscript, precision: int8}
      - {batch: 8, precision: int8}
"""
    assert names(read_zoo(write(text))) == [
        "a/onnxruntime-fp32-b1",
        "a/onnxruntime-fp32-b8",
        "a/onnxruntime-int8-b1",
        "a/torchscript-fp32-b1",
        "a/torchscript-fp32-b8",
    ]


def test_an_entrys_axis_takes_the_place_of_the_defaults_and_exclusions_add_up(write: Write) -> None:
    text = """
defaults: {targets: torchscript, precisions: [fp32, int8], exclude: {target: torchscript, precision: int8}}
models:
  - path: a.onnx
  - {path: b.onnx, targets: onnxruntime, exclude: [{precision: fp32}]}
"""
    assert names(read_zoo(write(text))) == ["a/torchscript-fp32", "b/onnxruntime-int8"]


def test_a_zoo_without_a_job(write: Write) -> None:
    assert only(write("\nmodels:\n- {path: a.onnx, exclude: {target: onnxruntime}}")) == ("2:1", "there is no job")


def test_variables_stand_for_the_cell(write: Write, tmp_path: Path) -> None:
    for name in ("a-onnxruntime", "a-torchscript"):
        (tmp_path / f"{name}.npz").touch()
    text = """
models:
  - path: a.onnx
    targets: [onnxruntime, torchscript]
    batches: [2, 3]
    samples: "{name}-{target}.npz"
    options: {opt-shapes: ["x:{batch}x16"], custom-ops: ["{batch}{name}", "{target}"], logits: "{precision}{other}"}
"""
    zoo = read_zoo(write(text))
    flags = zoo.job("a/torchscript-fp32-b3").flags
    assert flags.samples == tmp_path / "a-torchscript.npz"
    assert (flags.opt_shapes, flags.custom_ops) == (["x:3x16"], ["3a", "torchscript"])
    assert flags.logits == "fp32{other}", "what is no variable is text"
    assert zoo.job("a/onnxruntime-fp32-b2").flags.opt_shapes == ["x:2x16"]


def test_batches_that_change_nothing_and_a_batch_that_is_none(write: Write) -> None:
    path = write("models:\n- {path: a.onnx, batches: 4}\n- {path: b.onnx, options: {opt-shapes: 'x:{batch}x2'}}")
    assert refused(path) == [
        ("2:18", "a, onnxruntime, batches: change nothing"),
        ("3:3", "b, onnxruntime, x:{batch}x2: has a {batch}, and there are no batches"),
    ]


def test_a_batch_of_one_target_alone(write: Write) -> None:
    text = """
models:
  - path: a.onnx
    targets: [onnxruntime, torchscript]
    batches: 4
    target-options: {torchscript: {opt-shapes: "x:{batch}x16"}}
    exclude: {target: onnxruntime}
"""
    assert read_zoo(write(text)).jobs[0].flags.opt_shapes == ["x:4x16"]
    assert only(write(text.replace("    exclude: {target: onnxruntime}\n", ""))) == (
        "5:5",
        "a, onnxruntime, batches: change nothing",
    )


# Options.

LEVELS = ("defaults", "defaults of the target", "entry", "entry of the target")


@given(st.lists(st.none() | st.integers(1, 9), min_size=4, max_size=4))
def test_what_is_said_closer_counts(tmp_path_factory: pytest.TempPathFactory, said: list[int | None]) -> None:
    folder = tmp_path_factory.getbasetemp() / "precedence"
    folder.mkdir(exist_ok=True)
    (folder / "a.onnx").touch()
    first, second, third, fourth = ("{}" if value is None else f"{{max-length: {value}}}" for value in said)
    (folder / "zoo.yaml").write_text(
        f"defaults: {{options: {first}, target-options: {{onnxruntime: {second}, torchscript: {{max-length: 99}}}}}}\n"
        f"models: [{{path: a.onnx, options: {third}, target-options: {{onnxruntime: {fourth}}}}}]\n"
    )
    (job,) = read_zoo(folder / "zoo.yaml").jobs
    assert job.flags.max_length == next((value for value in reversed(said) if value is not None), None)


def test_options_that_do_not_meet_are_all_taken(write: Write) -> None:
    text = """
defaults: {options: {eos: [2, 3], max-length: 9}, target-options: {onnxruntime: {bos: 1}}}
models: [{path: a.onnx, options: {eos: 4, merge-casts: true}, target-options: {onnxruntime: {pad: 0}}}]
"""
    flags = read_zoo(write(text)).jobs[0].flags
    assert (flags.eos, flags.max_length, flags.bos, flags.pad, flags.merge_casts) == ([4], 9, 1, 0, True)


def test_an_entry_takes_back_what_defaults_say(write: Write) -> None:
    text = "defaults: {options: {max-length: 9}}\nmodels: [{path: a.onnx, options: {max-length: null}}]"
    assert read_zoo(write(text)).jobs[0].flags.max_length is None


@pytest.mark.parametrize(
    ("flag", "key"),
    [
        ("target: torchscript", "targets"),
        ("precision: int8", "precisions"),
        ("samples: s.npz", "samples"),
        ("atol: 1", "tolerances"),
        ("tolerance: 1", "tolerances"),
    ],
)
def test_flags_that_have_keys_of_their_own(write: Write, flag: str, key: str) -> None:
    path = write(f"models:\n- path: a.onnx\n  options: {{{flag}}}")
    with pytest.raises(UsageError) as caught:
        read_zoo(path)
    (problem,) = caught.value.problems
    assert problem.subject == f"{path}:3:13"
    assert problem.message == f"models.0.options.{flag.partition(':')[0]}: is no key here"
    assert problem.hint.startswith(f"say it with {key}:")


def test_a_target_that_does_not_exist(write: Write) -> None:
    text = """defaults:
  target-options: {tensort: {tf32: true}}
models:
- {path: a.onnx, targets: [onnxruntime, abacus]}
"""
    assert refused(write(text)) == [
        ("2:20", "there is no target 'tensort'"),
        ("4:3", "a, abacus, --target: there is no target 'abacus'"),
    ]


def test_what_a_target_cannot_do_is_told_of_each_job(write: Write) -> None:
    text = """models:
- {path: a.onnx, precisions: fp8, options: {tf32: true}}
- {path: b.onnx, options: {partitions: "5,x"}}
"""
    found = refused(write(text))
    assert [where for where, _ in found] == ["2:3", "2:45", "3:28"]
    assert "a, onnxruntime, --precision fp8" in found[0][1]
    assert "a, onnxruntime, --tf32" in found[1][1]
    assert "b, onnxruntime, --partitions" in found[2][1]


def test_files_of_options_that_are_not_there(write: Write, tmp_path: Path) -> None:
    text = "models:\n- {path: a.onnx, samples: t.npz, options: {tune: '{name}.csv'}}"
    messages = {message for _, message in refused(write(text))}
    assert messages == {
        f"a, onnxruntime, samples: {tmp_path / 't.npz'} is not there",
        f"a, onnxruntime, tune: {tmp_path / 'a.csv'} is not there",
    }


# Everything at once.


def test_keys_that_are_none_and_values_out_of_bounds_are_told_at_once_by_their_places(write: Write) -> None:
    text = """defaults:
  target: onnxruntime
models:
  - path: 3
  - path: a.onnx
    options: {max-length: 0, opt_shapes: x, schedule: never}
    limits: {memory: lots, retries: 99}
  - name: no/name
    path: a.onnx
extra: 1
"""
    found = refused(write(text))
    assert {where for where, _ in found} == {"2:3", "4:5", "6:15", "6:30", "6:45", "7:14", "7:28", "8:5", "10:1"}
    told = dict(found)
    assert told["2:3"] == "defaults.target: is no key here"
    assert told["10:1"] == "extra: is no key here"
    assert told["6:15"].startswith("models.1.options.max-length: Input should be greater than or equal to 1")
    assert told["8:5"].startswith("models.2.name: String should match pattern")
    assert not any(re.search(r"\[|str\b|\bdict\b", message.partition(": ")[0]) for message in told.values())


def test_entries_that_are_wrong_are_told_with_those_of_others(write: Write, tmp_path: Path) -> None:
    entries = ["path: c.onnx", "path: a.onnx, batches: 2", "name: store, path: a.onnx", "path: a.onnx", "path: a.onnx"]
    text = "models:\n" + "".join(f"- {{{entry}}}\n" for entry in entries)
    assert [where for where, _ in refused(write(text))] == ["2:4", "3:18", "4:3", "6:3"]


def test_that_no_model_is_left_is_not_told_of_models_that_are_wrong(write: Write) -> None:
    assert only(write("models: [{path: a.onnx, more: 1}]")) == ("1:25", "models.0.more: is no key here")
    assert {where for where, _ in refused(write("defaults: {more: 1}\nmodels: []"))} == {"1:12", "2:1"}


@pytest.mark.parametrize("text", ["", "3", "[]", "models:", "models: []", "a: 1", "models: {a: 1}"])
def test_a_file_that_is_no_zoo(write: Write, text: str) -> None:
    assert refused(write(text))


# What is merged.


def test_limits_resources_tolerances_and_labels_are_merged(write: Write) -> None:
    text = """
defaults:
  labels: [one, two]
  limits: {memory: 1GiB, time: 10min}
  resources: {cpus: 2, neuron-cores: 4, custom: {big: 1, old: 1}}
  tolerances: {atol: 1.0e-3, rtol: 0.5, share: 0.25}
models:
  - path: a.onnx
  - path: b.onnx
    precisions: [int8, fp32]
    labels: [three, one]
    limits: {time: 30, retries: 0}
    resources: {gpus: 1, neuron-cores: 8, custom: {big: 2}}
    tolerances: {rtol: 0}
"""
    plain, quantized, exact = read_zoo(write(text)).jobs
    assert plain.labels == ("one", "two")
    assert plain.limits == JobLimits(1 << 30, 600.0, 1)
    assert plain.needs == Needs(2.0, 0.0, (("big", 1.0), ("neuron_cores", 4.0), ("old", 1.0)))
    assert (plain.flags.atol, plain.flags.rtol, plain.flags.tolerance) == (1e-3, 0.5, None)
    assert quantized.labels == ("one", "two", "three")
    assert quantized.limits == JobLimits(1 << 30, 30.0, 0)
    assert quantized.needs == Needs(2.0, 1.0, (("big", 2.0), ("neuron_cores", 8.0), ("old", 1.0)))
    assert (quantized.flags.atol, quantized.flags.rtol, quantized.flags.tolerance) == (1e-3, 0.0, 0.25)
    assert exact.flags.tolerance is None, "a share is of fewer bits"


def test_thresholds_are_read_without_looking_for_models(write: Write) -> None:
    path = write("models: [{path: gone.onnx}]\nthresholds: {bytes: 0.1}\nstore: s3://bucket/zoo")
    assert (read_thresholds(path).bytes, read_thresholds(path).seconds) == (0.1, 0.5)
    assert read_thresholds(None).bytes == 0.05
    with pytest.raises(UsageError, match=r"zoo.yaml:1:15: thresholds.numerics"):
        read_thresholds(write("{thresholds: {numerics: 0.5}, models: [{path: a.onnx}]}"))


def test_a_store_is_the_files_to_say(write: Write) -> None:
    assert read_zoo(write("models: [{path: a.onnx}]\nstore: s3://bucket/zoo")).store == "s3://bucket/zoo"


# Jobs.


def test_jobs_of_the_same_models_are_a_family(write: Write) -> None:
    text = """
models:
  - {path: a.onnx, targets: [onnxruntime, torchscript]}
  - {name: again, path: a.onnx}
  - {path: b.onnx}
  - {name: apart, path: a.onnx, resources: {gpus: 1}}
"""
    one, other, again, b, apart = read_zoo(write(text)).jobs
    assert one.family == other.family
    assert len({job.family for job in (one, again, b, apart)}) == 4, "a model's name is in its engines' names"


@pytest.mark.parametrize(
    ("location", "expected"),
    [("a.onnx", False), ("/a/b", False), ("file:///a", False), ("s3://b/k", True), ("https://h/m.onnx", True)],
)
def test_what_is_fetched(location: str, expected: bool) -> None:
    assert is_url(location) is expected


def test_a_folder_is_looked_into_when_the_model_is_located(tmp_path: Path) -> None:
    source = SourceModel("m", str(tmp_path))
    with pytest.raises(UsageError, match="holds no"):
        source.at({str(tmp_path): tmp_path})
    (tmp_path / "model.onnx").touch()
    assert source.at({str(tmp_path): tmp_path}) == ModelFile("m", tmp_path / "model.onnx")


WORDS = st.text("ab{}\\", max_size=4)
NAMES = ("name", "target", "precision", "batch")


@given(st.lists(st.tuples(WORDS, st.sampled_from(NAMES)), max_size=4), WORDS)
def test_variables_are_filled_once_and_what_they_hold_is_text(parts: list[tuple[str, str]], last: str) -> None:
    values = dict(zip(NAMES, ("{target}", "t", r"\1", "8"), strict=True))
    text = "".join(f"{before}{{{name}}}" for before, name in parts) + last
    assert variables(text) == {name for _, name in parts}
    assert filled(text, values) == "".join(before + values[name] for before, name in parts) + last


def test_jobs_that_differ_in_their_place_alone_are_equal() -> None:
    job = Job("a", "t", "fp32", None, (SourceModel("a", "a.onnx"),), CompileFlags(), place="zoo.yaml:1:1")
    assert job == Job("a", "t", "fp32", None, (SourceModel("a", "a.onnx"),), CompileFlags(), place="zoo.yaml:9:1")
