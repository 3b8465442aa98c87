"""`unspool store list`, `verify`, `gc` and `unlock`: what many bundles share. No torch is imported."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from compiler.cli.output import JsonFlag, byte_progress, print_json, print_table

if TYPE_CHECKING:
    from artifacts.shard_store.collect import Tally

app = typer.Typer(
    name="store",
    help="Look at, check and clean a store of weights that bundles share.",
    no_args_is_help=True,
)

StoreArgument = Annotated[str, typer.Argument(metavar="STORE", help="The folder or URL that --store of compile named.")]


@app.command("list")
def list_command(store: StoreArgument, json: JsonFlag = False) -> None:
    """List the bundles that share a store, and what sharing saves.

    unspool store list zoo/store
    """
    from artifacts.shard_store.contents import contents
    from artifacts.shard_store.store import ShardStore

    found = contents(ShardStore.open(store))
    rows = [(claim.place, claim.host, str(state), len(claim.shards), size) for claim, state, size in found.bundles]
    if json:
        names = ("bundle", "host", "state", "shards", "bytes")
        bundles = [dict(zip(names, row, strict=True)) for row in rows]
        print_json({"store": store, "bundles": bundles, "shards": found.shards, "bytes": found.bytes})
        return
    print_table(
        f"{store}: {found.shards} shards, {_megabytes(found.bytes)}; "
        f"{len(rows)} bundles that would hold {_megabytes(sum(size for _, _, size in found.bundles))} without it",
        ["bundle", "host", "", "shards", "size"],
        [[place, host, state, str(shards), _megabytes(size)] for place, host, state, shards, size in rows],
    )


@app.command("verify")
def verify_command(store: StoreArgument, json: JsonFlag = False) -> None:
    """Read every shard of a store, and check that bundles find there what they share.

    unspool store verify zoo/store
    """
    from artifacts.errors import StoreError
    from artifacts.shard_store.store import ShardStore
    from artifacts.shard_store.verify import verify

    opened = ShardStore.open(store)
    with byte_progress("verify") as progress:
        found = verify(opened, progress)
    StoreError.raise_if(found.problems)
    if json:
        print_json({"store": store, **{k: v for k, v in asdict(found).items() if k != "problems"}})
        return
    print(f"{store}: {found.shards} shards, {_megabytes(found.bytes)}, all as their names say")
    print(f"bundles: {found.live} are there, {found.unseen} cannot be seen from here, {found.dead} are gone")
    if found.dead:
        print(f"what only those needed goes with: unspool store gc {store}")


@app.command("gc")
def gc_command(
    store: StoreArgument,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be removed.")] = False,
    json: JsonFlag = False,
) -> None:
    """Remove what no bundle reaches any more, whatever its age. Bundles that are there are never touched.

    unspool store gc zoo/store --dry-run

    unspool store gc zoo/store
    """
    from artifacts.shard_store.collect import collect
    from artifacts.shard_store.store import ShardStore

    opened = ShardStore.open(store)
    with byte_progress("gc") as progress:
        found = collect(opened, dry_run=dry_run, progress=progress)
    if json:
        dead = [claim.model_dump(mode="json") for claim in found.dead_claims]
        print_json({"store": store, "dry_run": dry_run, **asdict(found), "dead_claims": dead})
        return
    print(f"{'would remove' if dry_run else 'removed'} {_told(found.removed)}")
    print(
        f"bundles claim {_told(found.claimed)}, only link to {_told(found.linked)}; writers need {_told(found.awaited)}"
    )
    for claim in found.dead_claims:
        print(f"gone: {claim.place}")
    if found.dead_writers:
        print(f"writers that died: {found.dead_writers}")


@app.command("unlock")
def unlock_command(store: StoreArgument, json: JsonFlag = False) -> None:
    """Remove the lock of a gc that was killed, which only a store at a URL keeps. Only you know that it is dead.

    unspool store unlock s3://bucket/zoo
    """
    from artifacts.shard_store.store import ShardStore, unusable

    opened = ShardStore.open(store)
    try:
        unlocked = opened.files.unlock()
    except OSError as error:
        raise unusable(opened.files, error) from error
    if json:
        print_json({"store": store, "unlocked": unlocked})
        return
    print(f"{store}: {'unlocked' if unlocked else 'was not locked'}")


def _told(tally: Tally) -> str:
    return f"{tally.files} shards ({_megabytes(tally.bytes)})"


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.2f} MB"
