"""transformers: `generate` of the saved model, with its cache and its default attention."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
import transformers

from tests.bench.peers.contestants import Decode
from tests.bench.peers.models import PeerModel


def opened(folder: Path, model: PeerModel, form: str) -> Decode:
    torch.set_num_threads(1)
    loaded = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder / "transformers", dtype=getattr(torch, form))
    loaded.eval()

    def decode(given: npt.NDArray[Any], count: int) -> list[list[int]]:
        ids = torch.from_numpy(given)
        with torch.inference_mode():
            tokens = loaded.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=count,
                do_sample=False,
                num_beams=1,
            )
        rows: list[list[int]] = tokens[:, 1:].tolist()
        return rows

    return decode
