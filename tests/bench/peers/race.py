"""All contestants, each in a process of its own, taking turns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial

from tests.bench.figures import Figure
from tests.bench.peers.agreement import require_agreement, share
from tests.bench.peers.bounds import figures
from tests.bench.peers.bundle import guesses
from tests.bench.peers.contest import Cell, Contest
from tests.bench.peers.contestants import CONTESTANTS, FLOOR, NUMPY_LOOP, OURS, Contestant
from tests.bench.peers.models import BATCHES, LENGTHS, MODEL_FILE, MODELS, PeerModel, texts
from tests.bench.peers.prepare import our_contestants, prepare
from tests.bench.peers.process import FOLDER, Process
from tests.bench.peers.protocol import Order
from tests.bench.timing import turns

_ROUNDS, _LEAST_SECONDS = 5, 60.0
_LARGEST = Order(LENGTHS[-1], BATCHES[-1])


def against_peers(*, quick: bool) -> Iterator[Figure | Contest]:
    """The contest of each model, and the bounds on it."""
    for model in MODELS[: 1 if quick else None]:
        prepare(model)
        contest = measured(model, rounds=2 if quick else _ROUNDS, least_seconds=0 if quick else _LEAST_SECONDS)
        yield contest
        yield from figures(contest)


def measured(model: PeerModel, rounds: int, least_seconds: float) -> Contest:
    """Have everybody decode every cell, once to compare what they write and to warm up, and then for time."""
    took_part = [found for found in CONTESTANTS if not found.is_ours or found in our_contestants()]
    orders = [Order(tokens, rows) for rows in BATCHES for tokens in LENGTHS]
    folder = FOLDER / model.name
    with ExitStack() as stack:
        processes = {found: stack.enter_context(Process(found, model, folder)) for found in (*took_part, FLOOR)}
        # The largest first: what a process has held after it is what it needs.
        largest = {found: process.ask(_LARGEST) for found, process in processes.items()}
        peaks = {found.name: processes[found].peak_bytes for found in took_part}
        remarks = [
            remark
            for order in orders
            for remark in require_agreement(model, folder / MODEL_FILE, _written(processes, order))
        ]
        told = guesses(folder, OURS.form, texts(model, BATCHES[-1]), LENGTHS[-1])
        remarks.append(f"of {told.tokens} guesses for {BATCHES[-1]} texts, one by one, {told.accepted} were right")
        calls = {(order, found): partial(_seconds, processes[found], order) for order in orders for found in processes}
        seconds = turns(calls, rounds, warm_up=0, least_seconds=least_seconds)
    exact = largest[NUMPY_LOOP].tokens
    return Contest(
        model.name,
        tuple(
            Cell(order.tokens, order.rows, {found.name: seconds[order, found] for found in processes})
            for order in orders
        ),
        {found.name: share(largest[found].tokens, exact) for found in took_part if not found.is_exact},
        peaks,
        {name: text for found in took_part if not found.is_ours for name, text in processes[found].versions.items()},
        tuple(remarks),
    )


def _seconds(process: Process, order: Order) -> float:
    return process.ask(order).seconds


def _written(processes: Mapping[Contestant, Process], order: Order) -> dict[str, tuple[tuple[int, ...], ...]]:
    """What those write that have to write the same, the loop in numpy first."""
    exact = sorted((found for found in processes if found.is_exact and found != FLOOR), key=lambda f: f != NUMPY_LOOP)
    answers = {found: process.ask(order) for found, process in processes.items()}
    return {found.title: answers[found].tokens for found in exact}
