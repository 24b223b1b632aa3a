"""Noise where the ear hears noise: random directions for the highest bins, which the networks make too regular.

A network that has not learned from listeners gives hiss the same pattern in every frame, which rings. From some
frequency on, magnitudes are evened out and directions drawn, as in the noise substitution of Herre and Schulz (AES
104th convention, 1998). What is drawn depends on a frame's latents alone, so a recording decodes to the same samples
however it is cut.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.audio.constants import HOPS, NOISE_GAIN, NOISE_REACH, NOISE_ROWS
from siglum.codecs.audio.presets import Preset

Floats = NDArray[np.float32]


class Noise:
    """Directions for the bins of a model that lie above its `noise_from`."""

    def __init__(self, preset: Preset) -> None:
        frequencies = np.arange(preset.bins) * (preset.rate / preset.window)
        start, full = preset.noise_from, preset.noise_to
        self._first = int(np.searchsorted(frequencies, start))
        share = np.clip((frequencies[self._first :] - start) / (full - start), 0, 1)
        self._kept = (1 - share).astype(np.float32)
        count = NOISE_ROWS * HOPS * len(share)
        turns = (np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(11)
        turns = (turns ^ (turns >> np.uint64(21))) * np.uint64(0xBF58476D1CE4E5B9) >> np.uint64(40)
        angles = turns.astype(np.float64) * (2 * np.pi / 2**24)
        directions = np.exp(1j * angles).reshape(NOISE_ROWS, HOPS, len(share))
        self._drawn = (directions * share * NOISE_GAIN).astype(np.complex64)

    def rows(self, latents: Floats) -> NDArray[np.int64]:
        """Which directions frames with these latents (T, D) get, (T,): a sum of their bits, the same everywhere."""
        bits = np.ascontiguousarray(latents, np.float32).view(np.int32).astype(np.int64)
        return np.asarray(bits.sum(axis=1) % NOISE_ROWS, np.int64)

    def mix(self, spectra: NDArray[np.complex64], rows: NDArray[np.int64]) -> None:
        """Turn the highest bins of spectra (2T, bins) in place, with the power that they have around them."""
        high = spectra[:, self._first :]
        power = np.pad(
            np.square(high.real) + np.square(high.imag), ((0, 0), (NOISE_REACH, NOISE_REACH)), mode="edge"
        )
        count = 2 * NOISE_REACH + 1
        even = power[:, : high.shape[1]].copy()
        for shift in range(1, count):
            even += power[:, shift : shift + high.shape[1]]
        size = np.sqrt(even / np.float32(count))
        high *= self._kept
        high += size * self._drawn[rows].reshape(size.shape)
