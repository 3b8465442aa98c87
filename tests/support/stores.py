"""Bundles that share a store, made by hand: no compiler is involved."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from artifacts.bundle import Bundle
from artifacts.bundle_writer import write_bundle
from artifacts.canonical import sha256_bytes
from artifacts.manifest import EngineEntry, Manifest, ModelEntry, Weights
from artifacts.schedule import Single
from artifacts.shard_store.store import ShardStore
from artifacts.shard_store.writer import share_shards
from artifacts.spec import Signature
from artifacts.weights import WeightStore
from tests.support.bundles import ACCESS, REPORT, Array


def content(seed: int, size: int = 1000) -> Array:
    """Float32 [size] that the seed decides."""
    return np.random.default_rng(seed).standard_normal(size).astype(np.float32)


def share(
    store: ShardStore,
    destination: Path,
    tensors: Mapping[str, Array],
    *,
    force: bool = False,
    pause: Callable[[], object] = lambda: None,
) -> Bundle:
    """A whole bundle at `destination` that shares these weights with the store; its engine is no more than a name.

    `pause` is called when there are weights and no claim, and when there is a claim and no bundle.
    """
    weights, refs = WeightStore().with_tensors((array, None) for array in tensors.values())
    with share_shards(store, destination) as sharing, write_bundle(destination, force=force) as writer:
        index = sharing.write_shards(weights, refs, writer.root)
        pause()
        writer.add("engines/e.onnx", b"engine")
        signature = Signature(inputs=(), outputs=())
        manifest = Manifest(
            unspool="0.1.0",
            models={
                "m": ModelEntry(
                    source=sha256_bytes(b"m"),
                    signature=signature,
                    schedule=Single(function="main"),
                    functions={"main": ("e",)},
                )
            },
            engines={
                "e": EngineEntry(
                    kind="onnxruntime",
                    target="onnxruntime",
                    signature=signature,
                    source="engines/e.onnx",
                    status="emitted",
                    bindings=dict(zip(tensors, refs, strict=True)),
                    weights=ACCESS,
                )
            },
            weights=Weights(layout="store", shards=index.shards),
            files=writer.inventory(),
        )
        with sharing.claim(manifest):
            pause()
            return writer.commit(manifest, REPORT)


def inodes(folder: Path) -> set[int]:
    """The inodes of the weight shards at any depth below a folder: each is one copy on disk."""
    return {path.stat().st_ino for path in folder.rglob("*.safetensors")}


def blocks(*folders: Path) -> int:
    """Bytes on disk of the weight shards below folders, each inode counted once."""
    statuses = [path.stat() for folder in folders for path in folder.rglob("*.safetensors")]
    return sum({status.st_ino: status.st_blocks * 512 for status in statuses}.values())


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {os.path.relpath(p, folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
