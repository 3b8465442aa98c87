"""Decoders that guess: with a draft that is wrong as often as a test wants."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from artifacts.schedule import Decode, Engine
from passes.derive_kv_cache import DeriveKvCache
from passes.program import Program
from passes.split_encoder_decoder import SplitEncoderDecoder
from tests.support.decoder_modules import converted_decoder, schedule_of
from tests.support.decoder_programs import controlled


def with_window(name: str, count: int) -> Program:
    """One of the decoder modules, with a cache and a window over that many guesses, which the step makes."""
    program = controlled(SplitEncoderDecoder()(converted_decoder(name)).program, Engine())
    return DeriveKvCache(draft=count, least_bytes=0)(program).program


def guessing_badly(program: Program, noise: float) -> Program:
    """The program with a draft of its own: the step with noise on every matrix of float32."""
    schedule = schedule_of(program)
    assert schedule.draft is not None
    name = f"{schedule.step}.draft"
    draft = schedule.draft.model_copy(update={"step": name})
    changed = _noisy(program, schedule.step, name, noise)
    model = changed.models["decoder"]
    return replace(
        changed,
        models={"decoder": replace(model, schedule=Decode.model_validate({**schedule.model_dump(), "draft": draft}))},
    )


def with_noisy_window(program: Program, noise: float) -> Program:
    """The program with a window that is not exact: a fault."""
    draft = schedule_of(program).draft
    assert draft is not None
    return _noisy(program, draft.window, draft.window, noise)


def _noisy(program: Program, function: str, name: str, noise: float) -> Program:
    random, store = np.random.default_rng(0), program.weights
    weights = dict(program.functions[function].weights)
    for key, ref in weights.items():
        array = store.array(ref)
        if array.dtype == np.float32 and array.ndim == 2:
            noisy = array + noise * random.standard_normal(array.shape)
            store, weights[key] = store.with_tensor(noisy.astype(np.float32))
    changed = replace(program.functions[function], name=name, weights=weights)
    return program.with_functions({name: changed}, store)
