"""Sounds for a detector of voices: a voice that is synthesized, and what is none.

The voice is a train of pulses at a pitch that rises and falls, through the resonances of four vowels in turn (source
and filter, as in Fant, "Acoustic Theory of Speech Production", 1960).
"""

from __future__ import annotations

import math

import numpy as np

from tests.support.models import Array, normal

_VOWELS = ((700, 1200, 2500), (300, 2200, 3000), (500, 900, 2400), (400, 1900, 2600))
"""Hertz of the first three resonances of each."""

_SYLLABLE = 0.18
_BANDWIDTH = 80.0


def voice(rate: int, seconds: float = 1.0) -> Array:
    """Syllables without consonants, float32 [rate * seconds], at most 0.3."""
    count = int(rate * seconds)
    time = np.arange(count) / rate
    pitch = 120 + 15 * np.sin(2 * math.pi * 3 * time) + 8 * np.sin(2 * math.pi * 0.7 * time)
    pulses = np.diff(np.floor(np.cumsum(pitch) / rate), prepend=0) + 0.002 * normal(count)
    length = int(_SYLLABLE * rate)
    syllables = []
    for number, begin in enumerate(range(0, count, length)):
        sound = pulses[begin : begin + length]
        for frequency in _VOWELS[number % len(_VOWELS)]:
            sound = _resonance(sound, frequency, rate)
        syllables.append(sound * np.hanning(len(sound)))
    whole = np.concatenate(syllables)
    return np.asarray(0.3 * whole / np.abs(whole).max(), np.float32)


def other_sounds(rate: int, seconds: float = 1.0) -> dict[str, Array]:
    """Silence, noise and a pure tone, each float32 [rate * seconds]."""
    count = int(rate * seconds)
    tone = 0.3 * np.sin(2 * math.pi * 440 * np.arange(count) / rate)
    return {"silence": np.zeros(count, np.float32), "noise": 0.05 * normal(count), "tone": tone.astype(np.float32)}


def _resonance(sound: Array, frequency: float, rate: int) -> Array:
    """A resonator of two poles: y[n] = x[n] + 2 r cos(w) y[n - 1] - r^2 y[n - 2]."""
    radius = math.exp(-math.pi * _BANDWIDTH / rate)
    first, second = 2 * radius * math.cos(2 * math.pi * frequency / rate), -radius * radius
    before, last, out = 0.0, 0.0, []
    for sample in sound.tolist():
        before, last = last, sample + first * last + second * before
        out.append(last)
    return np.array(out)
