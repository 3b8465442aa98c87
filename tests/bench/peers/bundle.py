"""Unspool: `Session.run` of a bundle for every length; `form` is its precision."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from artifacts.runtime import Session
from artifacts.runtime.answer import Drafted
from tests.bench.peers.contestants import Decode
from tests.bench.peers.models import PeerModel


def folder_name(form: str, count: int) -> str:
    """Where a bundle lies in the folder of its model."""
    return f"unspool-{form}-{count}"


def guesses(folder: Path, form: str, texts: npt.NDArray[Any], count: int) -> Drafted:
    """What became of the guesses for each of the texts alone."""
    with Session.open(folder / folder_name(form, count), threads=1) as session:
        rows = (text[None] for text in texts)
        answers = [session.answer({"input_ids": row, "attention_mask": np.ones_like(row)}) for row in rows]
    return sum((answer.drafted for answer in answers if answer.drafted is not None), Drafted())


def opened(folder: Path, model: PeerModel, form: str) -> Decode:
    @cache
    def session(count: int) -> Session:
        return Session.open(folder / folder_name(form, count), threads=1)

    def decode(given: npt.NDArray[Any], count: int) -> list[list[int]]:
        inputs = {"input_ids": given, "attention_mask": np.ones_like(given)}
        return session(count).run(inputs)["tokens"].tolist()  # type: ignore[no-any-return]

    return decode
