"""Damage to bundles: any file, any field of the manifest, with digests that are then wrong, or made right again."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from artifacts.canonical import canonical_json, sha256_bytes, sha256_file
from artifacts.errors import BundleError
from artifacts.manifest import MANIFEST_FILE, REPORT_FILE, Manifest
from tests.support.bundles import REPORT
from tests.support.mutations import ODD_NAMES, ODD_SIZES, damage_file, replace_by_other_kind

BundleMutation = Callable[[Random, Path], str]

_ODD_VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 1e308, *ODD_SIZES, *ODD_NAMES, [], {}, [[]], {"": None}, "\ud800", [1] * 1000,
    "a" * 64, "../../etc/passwd", "engines/../manifest.json", "custom", "cached", "emitted",
)  # fmt: skip


def files_of(bundle: Path) -> list[Path]:
    return sorted(path for path in bundle.rglob("*") if path.is_file() and not path.is_symlink())


def damage_any(random: Random, bundle: Path) -> str:
    path = random.choice(files_of(bundle))
    return f"{damage_file(random, path)} {path.relative_to(bundle)}"


def damage_and_seal(random: Random, bundle: Path) -> str:
    """Damage that the digests agree with: what a careless or hostile maker of bundles would hand over."""
    path = random.choice([path for path in files_of(bundle) if path.name not in {MANIFEST_FILE, REPORT_FILE}])
    how = damage_file(random, path)
    seal(bundle)
    return f"{how} {path.relative_to(bundle)}, sealed"


def replace_any(random: Random, bundle: Path) -> str:
    path = random.choice(files_of(bundle))
    return f"{path.relative_to(bundle)} is {replace_by_other_kind(random, path)}"


def add_something(random: Random, bundle: Path) -> str:
    folder = random.choice([bundle, *(path for path in bundle.iterdir() if path.is_dir())])
    path = folder / random.choice(("extra", ".hidden", "engines", "a b", "weights", "__init__.py"))
    if path.exists():
        return "nothing"
    path.write_bytes(b"x")
    return f"{path.relative_to(bundle)} added, as {replace_by_other_kind(random, path)}"


def swap_files(random: Random, bundle: Path) -> str:
    first, second = random.choice(files_of(bundle)), random.choice(files_of(bundle))
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(data)
    sealed = MANIFEST_FILE not in {first.name, second.name} and random.random() < 0.5
    if sealed:
        seal(bundle)
    return f"{first.name} and {second.name} swapped{', sealed' if sealed else ''}"


def edit_manifest(random: Random, bundle: Path) -> str:
    """One value of the JSON document, anywhere, with the document's own digest made right again or not."""
    document = _manifest(bundle)
    if document is None:
        return "nothing"
    holder, key = random.choice(list(_places(document)))
    how = random.choice(("value", "value", "drop", "add", "swap"))
    if how == "drop":
        del holder[key]
    elif how == "add" and isinstance(holder, dict):
        holder[random.choice(("extra", *ODD_NAMES[:4]))] = random.choice(_ODD_VALUES)
    elif how == "swap":
        holder[key] = copy.deepcopy(random.choice([value[at] for value, at in _places(document)]))
    else:
        holder[key] = random.choice(_ODD_VALUES)
    sealed = random.random() < 0.7
    _write(bundle, document, sealed)
    return f"manifest: {how} at {key!r}{', sealed' if sealed else ''}"


def edit_report(random: Random, bundle: Path) -> str:
    document = json.loads(REPORT.to_bytes())
    holder, key = random.choice(list(_places(document)))
    holder[key] = random.choice(_ODD_VALUES)
    path = bundle / REPORT_FILE
    if not path.is_file():
        return "nothing"
    path.write_text(json.dumps(document))
    return f"report: value at {key!r}"


def nest_manifest(random: Random, bundle: Path) -> str:
    depth = random.choice((500, 100_000))
    if not (bundle / MANIFEST_FILE).is_file():
        return "nothing"
    (bundle / MANIFEST_FILE).write_bytes(random.choice((b"[", b'{"a":')) * depth)
    return f"manifest: {depth} deep"


def seal(bundle: Path) -> None:
    """Make every digest and size in the manifest agree with the files."""
    document = _manifest(bundle)
    if document is None:
        return
    shards = {shard["path"]: shard for shard in document["weights"]["shards"]}
    for path, entry in document["files"].items():
        if (bundle / path).is_file():
            found = {"sha256": sha256_file(bundle / path), "bytes": (bundle / path).stat().st_size}
            entry.update(found)
            shards.get(path, {}).update(found)
    _write(bundle, document, True)


def _manifest(bundle: Path) -> dict[str, Any] | None:
    """The manifest's document, None if an earlier mutation made it something else."""
    path = bundle / MANIFEST_FILE
    try:
        return Manifest.from_bytes(path.read_bytes()).model_dump(mode="json") if path.is_file() else None
    except (OSError, BundleError):
        return None


def _write(bundle: Path, document: dict[str, Any], sealed: bool) -> None:
    if not sealed:
        (bundle / MANIFEST_FILE).write_text(json.dumps(document))
        return
    document.pop("digest", None)
    try:
        digest = sha256_bytes(canonical_json(document))
        data = canonical_json({**document, "digest": digest})
    except (ValueError, UnicodeEncodeError):  # a lone surrogate: no canonical form
        data = json.dumps(document).encode()
    (bundle / MANIFEST_FILE).write_bytes(data)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    items = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    for key, item in items:
        yield value, key
        yield from _places(item)


BUNDLE_MUTATIONS: tuple[BundleMutation, ...] = (
    damage_any,
    damage_any,
    damage_and_seal,
    damage_and_seal,
    replace_any,
    add_something,
    swap_files,
    edit_manifest,
    edit_manifest,
    edit_manifest,
    edit_report,
    nest_manifest,
)
