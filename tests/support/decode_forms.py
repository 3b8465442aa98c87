"""Every way to compile a decode: who loops, and what a step carries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from compiler.compile import compile_bundle
from compiler.generation import TokenFlags
from compiler.options import CacheMode, CompileOptions, ModelFile, ScheduleName
from tests.support.models import BundleCache


@dataclass(frozen=True)
class DecodeForm:
    """A way to compile a decode."""

    schedule: ScheduleName
    cache: CacheMode
    draft: int | None = None

    def __str__(self) -> str:
        return f"{self.schedule}-{self.cache}" + ("" if self.draft is None else f"-draft-{self.draft}")

    def bundle(
        self, cache: BundleCache, model: Path, tokens: TokenFlags | None = None, partitions: tuple[int, ...] = ()
    ) -> Path:
        """The bundle of a model in this form, compiled once a run."""
        options = CompileOptions(
            schedule=self.schedule,
            cache=self.cache,
            draft=self.draft,
            tokens=tokens or TokenFlags(),
            partitions=partitions,
        )
        name = "-".join([model.parent.name, model.stem, str(self), *map(str, partitions)])
        return cache.get(name, lambda folder: compile_bundle([ModelFile("model", model)], folder, options))


LOOP_CACHED = DecodeForm(ScheduleName.LOOP, CacheMode.ON)
LOOP_RECOMPUTED = DecodeForm(ScheduleName.LOOP, CacheMode.OFF)
DEFAULT = DecodeForm(ScheduleName.ENGINE_LOOP, CacheMode.ON)
"""What `auto` comes to where a cache can be derived."""

DRAFTED = DecodeForm(ScheduleName.ENGINE_LOOP, CacheMode.ON, draft=3)
"""The same for a decoder that is large enough for guesses to pay."""

SCHEDULES = (ScheduleName.LOOP, ScheduleName.ENGINE_LOOP, ScheduleName.UNROLLED, ScheduleName.PARTITIONED)
FORMS = (
    *(DecodeForm(schedule, cache) for schedule in SCHEDULES for cache in (CacheMode.ON, CacheMode.OFF)),
    DecodeForm(ScheduleName.LOOP, CacheMode.PADDED),
    DecodeForm(ScheduleName.ENGINE_LOOP, CacheMode.PADDED),
)
