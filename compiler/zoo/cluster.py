"""Workers on a Ray cluster: each job in a process of its own, as on this machine, on whichever node has room for it.

Ray places families and tells when a node is gone; what is then done again is the build's own queue to say. A store in
a folder is one that all nodes see at the same path, as they see the models and the bundles. With a store at a URL
nodes share nothing else: models go there and come from there, and bundles come back through it.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from artifacts.errors import MissingToolError, Problem, UnspoolError, UsageError
from artifacts.shard_store.shelf import Shelf
from artifacts.shard_store.store import ShardStore
from compiler.key import own_digest
from compiler.zoo.jobs import Needs, is_url
from compiler.zoo.parcel import Parcel, parcel_of
from compiler.zoo.work import Began, Broke, Ended, Ending, Event, Family, Staged, Work

_WAIT = 0.2
"""Seconds that one look for events waits."""

_AHEAD = 2
"""Families that are handed to Ray for each processor of the cluster, so that no node waits for the build to look."""


@dataclass(frozen=True)
class Load:
    """A family as a node gets it: jobs whose files it sees, or parcels. `memory` None leaves it to the node."""

    family: Family
    parcels: tuple[Parcel, ...]
    memory: int | None
    unspool: str


@dataclass(eq=False)
class Sent:
    """A family that Ray has, the stream of what happens to it, and how many of its jobs ended."""

    family: Family
    stream: Any
    sent: float
    done: int = 0
    where: str = ""


@dataclass(eq=False)
class RayPool:
    """See `Pool`. `workers` is how many families may be at work at a time; None lets the cluster's processors say."""

    ray: Any
    workers: int
    memory: int | None
    name: str = "ray"
    sent: list[Sent] = field(default_factory=list)
    _told: list[Event] = field(default_factory=list)
    _room: tuple[float, int] = (0.0, 0)

    @classmethod
    def connected(cls, address: str | None, workers: int | None, memory: int | None) -> RayPool:
        """Join the cluster at an address, or start one on this machine.

        Raises MissingToolError if Ray is not installed, UsageError if there is no such cluster.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ModuleNotFoundError:
            raise MissingToolError.of("zoo", "ray", "is not installed", 'pip install "unspool[ray]"') from None
        local: dict[str, Any] = {"num_cpus": workers or os.cpu_count(), "include_dashboard": False}
        where = local if address is None else {"address": address}
        if address is not None and address.startswith("127."):
            where["_node_ip_address"] = address.partition(":")[0]
        try:
            ray.init(**where, log_to_driver=False, configure_logging=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = str(error).strip().partition("\n")[0]
            hint = "`ray status --address HOST:PORT` should know it"
            raise UsageError.of("options", f"--address {address}", f"no cluster answers: {reason}", hint) from error
        return cls(ray, workers or 0, memory)

    def takes(self, family: Family) -> bool:  # noqa: ARG002 - Ray finds the node
        """See `Pool`."""
        return len(self.sent) < self._most()

    def _most(self) -> int:
        """How many families Ray may have now: nodes come and go."""
        if self.workers:
            return self.workers
        asked, room = self._room
        if time.monotonic() - asked > 2:
            room = max(1, _AHEAD * int(self.ray.cluster_resources().get("CPU", 1)))
            self._room = (time.monotonic(), room)
        return room

    def start(self, family: Family) -> None:
        """See `Pool`."""
        missing = self._missing(family.needs)
        if missing:
            self._told += _all_failed(family, f"no node of the cluster has {missing}")
            return
        try:
            parcels = tuple(parcel_of(work) for work in family.works) if is_url(family.works[0].store) else ()
        except UnspoolError as error:
            self._told += _all_failed(family, str(error.problems[0]).partition("\n")[0], error.problems)
            return
        load = Load(family, parcels, self.memory, own_digest())
        needs = family.needs
        task = self.ray.remote(_on_node).options(
            num_cpus=needs.cpus,
            num_gpus=needs.gpus,
            resources=dict(needs.custom),
            num_returns="streaming",
            max_retries=0,
            scheduling_strategy="SPREAD",
        )
        self.sent.append(Sent(family, task.remote(load), time.monotonic()))

    def _missing(self, needs: Needs) -> str:
        """What no node that is alive has enough of; "" if one has all."""
        wanted = {"CPU": needs.cpus, "GPU": needs.gpus, **dict(needs.custom)}
        wanted = {name: count for name, count in wanted.items() if count}
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        if any(all(node.get(name, 0) >= count for name, count in wanted.items()) for node in nodes):
            return ""
        return ", ".join(f"{name}: {count:g}" for name, count in wanted.items())

    @property
    def busy(self) -> bool:
        """See `Pool`."""
        return bool(self.sent or self._told)

    def events(self) -> Sequence[Event]:
        """See `Pool`."""
        found, self._told = [*self._told], []
        if not self.sent:
            return found
        ready, _ = self.ray.wait([each.stream for each in self.sent], num_returns=1, timeout=0 if found else _WAIT)
        for stream in ready:
            sent = next(each for each in self.sent if each.stream is stream)
            found += self._next(sent)
        return found

    def stop(self) -> Sequence[Event]:
        """See `Pool`."""
        found: list[Event] = []
        for sent in self.sent:
            with contextlib.suppress(Exception):
                self.ray.cancel(sent.stream, force=True)
            if sent.done < len(sent.family.works):
                work = sent.family.works[sent.done]
                found.append(_gone(work, Ending.STOPPED, "the build was ended", 0.0))
        self.sent.clear()
        self.ray.shutdown()
        return found

    def _next(self, sent: Sent) -> Iterator[Event]:
        """What a stream says next, or that it ended."""
        try:
            event: Event = self.ray.get(next(sent.stream))
        except StopIteration:
            self.sent.remove(sent)
            if sent.done < len(sent.family.works):
                yield from self._lost(sent, "its node said nothing more")
            return
        except self.ray.exceptions.RayTaskError as error:
            self.sent.remove(sent)
            reason = str(error.cause or error).strip().splitlines()[-1]
            yield from _all_failed(sent.family.without(sent.done), reason)
            return
        except self.ray.exceptions.RayError as error:
            self.sent.remove(sent)
            yield from self._lost(sent, type(error).__name__)
            return
        match event:
            case Began():
                sent.where, sent.sent = event.where, time.monotonic()
            case Ended():
                sent.done += 1
                event = self._brought(sent.family.works[sent.done - 1], event)
            case Broke():
                sent.done = len(sent.family.works)
            case Staged():
                pass
        yield event

    def _lost(self, sent: Sent, why: str) -> Iterator[Event]:
        """The node of a family is gone: what it was at, and what it had not begun."""
        place = f"node {sent.where}" if sent.where else "its node"
        work = sent.family.works[sent.done]
        yield _gone(work, Ending.LOST, f"{place} is gone ({why})", time.monotonic() - sent.sent)
        left = sent.family.without(sent.done + 1)
        if left.works:
            yield Broke(left)

    def _brought(self, work: Work, event: Ended) -> Ended:
        """The end of a job once its bundle is in its place here."""
        if event.made is None or not is_url(work.store):
            return event
        try:
            bundle = Shelf(ShardStore.open(work.store)).take(event.made.key, work.destination)
        except UnspoolError as error:
            problems = tuple(asdict(problem) for problem in error.problems)
            return replace(event, ending=Ending.FAILED, reason=str(error.problems[0]), problems=problems, made=None)
        if bundle is None:
            return replace(event, ending=Ending.LOST, reason="its bundle is not in the store any more", made=None)
        return event


def _gone(work: Work, ending: Ending, reason: str, seconds: float) -> Ended:
    problem = {"stage": "zoo", "subject": work.job, "message": reason, "hint": "see `ray status`, and build again"}
    return Ended(work.job, ending, seconds, reason, (problem,))


def _all_failed(family: Family, reason: str, problems: Sequence[Problem] = ()) -> Iterator[Event]:
    hint = "start a node that has it, or ask for less with resources:"
    told = tuple(asdict(each) for each in problems)
    for work in family.works:
        own = told or ({"stage": "zoo", "subject": work.job, "message": reason, "hint": hint},)
        yield Ended(work.job, Ending.FAILED, 0.0, reason, own)


def _on_node(load: Load) -> Iterator[Event]:
    """Compile a family on a node, in a process of its own below this one, and say what happens."""
    import ray as found

    from compiler.zoo.local import LocalPool
    from compiler.zoo.pools import worker_memory

    if load.unspool != own_digest():
        raise RuntimeError("this node has another Unspool than the build: install the same one on all")
    ray: Any = found
    name = ray.get_runtime_context().get_node_id()[:8]
    processors = int(sum(node["Resources"].get("CPU", 0) for node in ray.nodes() if node["NodeID"].startswith(name)))
    memory = load.memory or worker_memory(None, max(1, processors))
    pool = LocalPool(1, memory)
    with tempfile.TemporaryDirectory(prefix="unspool-zoo-") as scratch:
        family = _here(load, Path(scratch))
        pool.start(family)
        try:
            while pool.busy:
                for event in pool.events():
                    yield replace(event, where=name) if isinstance(event, Began) else event
        finally:
            pool.stop()


def _here(load: Load, scratch: Path) -> Family:
    """The family with paths of this machine."""
    if not load.parcels:
        return load.family
    works = []
    for number, parcel in enumerate(load.parcels):
        work = parcel.unpacked(scratch / "files")
        works.append(replace(work, destination=scratch / "bundles" / str(number), log=scratch / f"{number}.log"))
    return replace(load.family, works=tuple(works))
