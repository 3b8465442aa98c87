from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artifacts.bundle import Bundle
from artifacts.canonical import canonical_json, sha256_bytes
from artifacts.errors import BundleError
from artifacts.manifest import STATUSES, Manifest, manifest_schema
from artifacts.neuron_serving import NeuronServing
from tests.artifacts.strategies import manifests

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def document(decoder_bundle: Bundle) -> bytes:
    return decoder_bundle.manifest.to_bytes()


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=25)
@given(manifests())
def test_a_manifest_survives_its_file_and_fits_the_published_schema(manifest: Manifest) -> None:
    data = manifest.to_bytes()
    assert Manifest.from_bytes(data) == manifest
    jsonschema.validate(json.loads(data), manifest_schema())


def test_the_committed_schema_is_the_one_the_types_make() -> None:
    committed = (ROOT / "docs" / "manifest.schema.json").read_bytes()
    assert committed == canonical_json(manifest_schema(), indent=2), (
        "write it again: unspool schema > docs/manifest.schema.json"
    )


def test_the_schema_refuses_what_is_unknown_or_missing(document: bytes) -> None:
    schema = manifest_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    good = json.loads(document)
    for wrong in ({**good, "extra": 1}, {key: good[key] for key in good if key != "digest"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def test_the_digest_is_of_the_document_without_it(document: bytes) -> None:
    parsed = json.loads(document)
    digest = parsed.pop("digest")
    assert digest == sha256_bytes(canonical_json(parsed)) == Manifest.from_bytes(document).digest


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_changed_byte_is_noticed(document: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(document) - 1))
    changed = bytearray(document)
    changed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BundleError):
        Manifest.from_bytes(bytes(changed))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        b'{"schema_version": 6}',
        b'{"schema_version": "6"}',
    ],
)
def test_what_is_no_manifest_is_one_bundle_error(data: bytes) -> None:
    with pytest.raises(BundleError):
        Manifest.from_bytes(data)


def test_a_newer_schema_version_says_what_to_do(document: bytes) -> None:
    newer = json.loads(document) | {"schema_version": 7}
    with pytest.raises(BundleError, match="schema version 7, this version reads 6") as caught:
        Manifest.from_bytes(json.dumps(newer).encode())
    assert "compile it again" in caught.value.problems[0].hint


def test_another_layout_of_the_same_json_is_not_what_was_written(document: bytes) -> None:
    with pytest.raises(BundleError, match="changed or damaged"):
        Manifest.from_bytes(json.dumps(json.loads(document)).encode())


def test_all_faults_come_at_once(document: bytes) -> None:
    wrong = json.loads(document)
    del wrong["tools"], wrong["models"]
    wrong["engines"]["growing-step"]["status"] = "perfect"
    wrong["weights"]["extra"] = 1
    with pytest.raises(BundleError) as caught:
        Manifest.from_bytes(json.dumps(wrong).encode())
    subjects = {problem.subject for problem in caught.value.problems}
    assert subjects >= {"models", "engines.growing-step.status", "weights.extra"}


def replaced(document: Any, path: tuple[str | int, ...], value: Any) -> Any:
    key, *rest = path
    changed: Any = dict(document) if isinstance(document, dict) else list(document)
    changed[key] = replaced(document[key], tuple(rest), value) if rest else value
    return changed


DISAGREEMENTS: dict[str, tuple[tuple[str | int, ...], Any, str]] = {
    "absent source": (("engines", "growing-step", "source"), "engines/x", "refers to engines/x"),
    "absent plan": (("engines", "growing-step", "plan"), "engines/x", "refers to engines/x"),
    "absent sample": (("models", "growing", "samples", 0, "inputs"), "samples/x", "refers to samples/x"),
    "absent engine": (("models", "growing", "functions", "step"), ["x"], "unknown engine 'x'"),
    "too many engines": (
        ("models", "growing", "functions", "step"),
        ["growing-step", "growing-encoder"],
        "has 1 partitions, 2 engines hold",
    ),
    "unmapped function": (("models", "growing", "functions"), {"step": ["growing-step"]}, "calls 'encoder'"),
    "inline with shards": (("weights", "layout"), "inline", "no shards"),
    "shard of another size": (("weights", "shards", 0, "bytes"), 1, "not in files with this digest"),
    "verdict on nothing": (("numerics", "verdicts"), {"x": []}, "unknown model 'x'"),
    "manifest in files": (
        ("files", "manifest.json"), {"sha256": "0" * 64, "bytes": 1}, "files lists manifest.json",
    ),
    "file as folder": (("files", "engines"), {"sha256": "0" * 64, "bytes": 1}, "both a file and a folder"),
    "path that leaves": (("engines", "growing-step", "source"), "../x", "should match pattern"),
    "absolute path": (("files", "/etc/passwd"), {"sha256": "0" * 64, "bytes": 1}, "should match pattern"),
    "number as text": (("unspool",), 1, "valid string"),
    "text as number": (("weights", "shards", 0, "bytes"), "1", "valid integer"),
    "a setting that nothing declares": (
        ("settings",), {"LD_PRELOAD": "/tmp/x.so"}, "'LD_PRELOAD', an environment variable that",
    ),
    "infinity": (("engines", "growing-step", "session"), {"x": float("inf")}, "finite number"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"NEURON_RT_MULTI_INSTANCE_SHARED_WEIGHTS": "1", "LD_PRELOAD": "x"}, "'LD_PRELOAD'"),
        ({"NEURON_RT_MULTI_INSTANCE_SHARED_WEIGHTS": "0"}, "'0', and serving says '1'"),
        ({}, "lacks NEURON_RT_MULTI_INSTANCE_SHARED_WEIGHTS"),
    ],
)
def test_settings_are_those_that_serving_declares(document: bytes, settings: dict[str, str], message: str) -> None:
    serving = NeuronServing()
    good = json.loads(document) | {"serving": serving.model_dump(mode="json"), "settings": serving.settings}
    assert _read(good).serving == serving
    with pytest.raises(BundleError, match=message):
        _read(good | {"settings": settings})


def _read(document: dict[str, Any]) -> Manifest:
    """Read a document whose digest is right: a changed one is not refused for its digest."""
    without = {key: value for key, value in document.items() if key != "digest"}
    return Manifest.from_bytes(canonical_json({**without, "digest": sha256_bytes(canonical_json(without))}))


@pytest.mark.parametrize("name", DISAGREEMENTS)
def test_parts_that_do_not_agree_are_refused(document: bytes, name: str) -> None:
    path, value, message = DISAGREEMENTS[name]
    wrong = replaced(json.loads(document), path, value)
    with pytest.raises(BundleError, match=message):
        Manifest.from_bytes(json.dumps(wrong).encode())


def test_statuses_ascend() -> None:
    assert STATUSES == ("emitted", "hlo-verified", "built", "verified")


@pytest.mark.parametrize(
    ("sizes", "fill", "message"),
    [
        ({"batch": 2}, {}, r"engine 'growing-encoder' takes x: float32\[batch, 4\], its bucket says \[2, 4\]"),
        ({"batch": 2, "w": 3}, {}, "buckets have a size of 'w', which no input has"),
        ({"batch": 2}, {"y": 0}, "'y' is filled and no input"),
    ],
)
def test_a_bucket_that_is_not_its_models_is_refused(
    document: bytes, sizes: dict[str, int], fill: dict[str, int], message: str
) -> None:
    wrong = json.loads(document)
    model = wrong["models"]["growing"]
    bucket = {"sizes": sizes, "functions": model.pop("functions")}
    model["buckets"] = {"each": [bucket], "padding": {"rows": "batch", "fill": fill, "exact": True}}
    with pytest.raises(BundleError, match=message):
        Manifest.from_bytes(json.dumps(wrong).encode())


def test_a_model_without_buckets_says_nothing_of_them(document: bytes) -> None:
    (model, *_) = json.loads(document)["models"].values()
    assert "functions" in model
    assert "buckets" not in model
