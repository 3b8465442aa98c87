"""How long kernels took on this host's GPU, kept from build to build: TensorRT does not time them again.

One file for each version and kind of GPU, in the host's cache and never in a bundle:
`$UNSPOOL_CACHE/tensorrt-timing/VERSION-GPU.cache`. It may be removed at any time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from artifacts.draft_file import draft_file
from artifacts.errors import UnspoolError
from artifacts.host_cache import cache_root, require_own

_KIND = "tensorrt-timing"


def timing_file(version: str, gpu: str) -> Path:
    """Where the times of one version's kernels on one kind of GPU are, sm89 say."""
    return cache_root() / _KIND / f"{version}-{gpu}.cache"


def read_times(config: Any, file: Path) -> None:
    """Give a builder's config the times that are known, or none; they are from then on added to.

    Raises RunError if another user could have written the file.
    """
    data = b""
    if file.exists():
        require_own(file.parent)
        data = file.read_bytes()
    # Times of another driver, or a damaged file, are no cache: the builder takes an empty one then.
    cache = config.create_timing_cache(data) or config.create_timing_cache(b"")
    if not config.set_timing_cache(cache, False):
        config.set_timing_cache(config.create_timing_cache(b""), False)


def write_times(config: Any, file: Path) -> str:
    """Keep what a build has added; why it could not, "" if it did: a plan is as good without."""
    try:
        file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        require_own(file.parent)
        with draft_file(file, "cache", force=True) as out:
            out.write(bytes(config.get_timing_cache().serialize()))
    except (OSError, UnspoolError) as error:
        return f"how long kernels take is not kept: {error}"
    return ""
