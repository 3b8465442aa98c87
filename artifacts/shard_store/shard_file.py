"""The bytes of a shard in a store: one tensor, and nothing that depends on who shows it, or on who wrote it.

A safetensors file whose header says `{DIGEST: {"dtype": "U8", "shape": [n], "data_offsets": [0, n]}}`, padded with
spaces so that the data begins at a multiple of 64 bytes. It is written here and not by the safetensors package, whose
next version may order or pad a header otherwise: then equal tensors would no longer be equal files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import JsonValue

from artifacts.canonical import canonical_json
from artifacts.dtype import DType
from artifacts.mapped_pages import give_back_pages
from artifacts.shard_store.files import Parts
from artifacts.shards import Shard, ShardTensor, shard_path
from artifacts.weights import Bytes

_ALIGNMENT = 64


@dataclass(frozen=True, eq=False)
class ShardFile:
    """A file that is to be a shard: its entry in a bundle, its bytes, and the tensors that it holds."""

    shard: Shard
    parts: Parts
    tensors: Sequence[ShardTensor]


def shard_file(digest: str, data: Bytes) -> ShardFile:
    """The shard of the content that has this digest, uint8 [n]."""
    entry: dict[str, JsonValue] = {"dtype": "U8", "shape": [data.nbytes], "data_offsets": [0, data.nbytes]}
    text = canonical_json({digest: entry}).rstrip(b"\n")
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    header = np.frombuffer(len(text).to_bytes(8, "little") + text, dtype=np.uint8)
    found = hashlib.sha256(header.data)
    found.update(data.data)
    give_back_pages(data)
    shard = Shard(path=shard_path(found.hexdigest()), sha256=found.hexdigest(), bytes=header.nbytes + data.nbytes)
    tensor = ShardTensor(digest, DType.UINT8, (data.nbytes,), header.nbytes, data.nbytes)
    return ShardFile(shard, (header, data), (tensor,))
