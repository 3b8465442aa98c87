"""`unspool pack` and `unspool unpack`: a bundle as one file, and back. No torch is imported."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from compiler.cli.bundles import BundleArgument
from compiler.cli.output import JsonFlag, byte_progress, print_json


def pack_command(
    bundle: BundleArgument,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="File to make, a tar archive.")],
    force: Annotated[bool, typer.Option("--force", help="Replace the file that is there.")] = False,
    json: JsonFlag = False,
) -> None:
    """Pack a bundle into one file that carries everything, weights too. The same bundle gives the same bytes.

    unspool pack build/ocr -o ocr.tar
    """
    from artifacts.packing import pack

    with byte_progress(f"packing {bundle}") as progress:
        packed = pack(bundle, output, force=force, progress=progress)
    if json:
        digest = packed.bundle.manifest.digest
        print_json({"bundle": str(bundle), "file": str(output), "bytes": packed.bytes, "digest": digest})
        return
    print(f"{output}: {len(packed.bundle.manifest.files)} files, {packed.bytes / 1e6:.1f} MB")


def unpack_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `unspool pack` wrote.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="BUNDLE", help="Folder to make.")],
    force: Annotated[bool, typer.Option("--force", help="Replace the bundle that is there.")] = False,
    store: Annotated[
        str | None,
        typer.Option(metavar="STORE", envvar="UNSPOOL_STORE", help="Share weights through this folder or URL."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Make a bundle of a packed one. Every digest is checked, and nothing is written but what the manifest lists.

    unspool unpack ocr.tar -o build/ocr

    unspool unpack ocr.tar -o zoo/ocr --store zoo/store
    """
    from artifacts.packing import unpack
    from artifacts.shard_store.store import ShardStore

    shared = None if store is None else ShardStore.open(store, create=True)
    with byte_progress(f"unpacking {file}") as progress:
        unpacked = unpack(file, output, force=force, store=shared, progress=progress)
    bundle = unpacked.bundle
    for notice in unpacked.notices:
        print(f"note: {notice}", file=sys.stderr)
    if json:
        size = sum(entry.bytes for entry in bundle.manifest.files.values())
        document = {"file": str(file), "bundle": str(output), "bytes": size, "digest": bundle.manifest.digest}
        print_json(document)
        return
    print(f"{output}: {len(bundle.manifest.files)} files")


COMMANDS = (pack_command, unpack_command)
