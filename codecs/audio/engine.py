"""The networks of the audio codec without torch, frame by frame: the same values however a recording is cut up.

Every frame is computed by itself (rows of matrix products are, in `siglum.kernels.float_network`), and what a block
needs of the frames before is kept: so pushing a recording in pieces gives, bit for bit, what pushing it at once does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.audio.constants import COMPRESSION, HOPS, LOUDEST, MAGNITUDE_FLOOR, TAPS
from siglum.codecs.audio.cosines import cosines
from siglum.codecs.audio.noise import Noise
from siglum.codecs.audio.presets import Preset
from siglum.kernels.float_network import FloatNetwork, Pointwise

Floats = NDArray[np.float32]


class Engine:
    """The networks of one model; safe to share between threads.

    Parameters
    ----------
    tensors
        Those of `export.tensors_of`; half precision is widened.
    preset
        Sizes of the networks.
    """

    def __init__(self, tensors: Mapping[str, NDArray[Any]], preset: Preset) -> None:
        self.preset = preset
        self._tensors = tensors
        steps = np.arange(preset.window)
        self.window = (0.5 - 0.5 * np.cos(2 * np.pi * steps / preset.window)).astype(np.float32)
        self.cosines = cosines(preset.frame)
        self.noise = Noise(preset)
        low = self._array("encoder.low") @ self.cosines.T
        self.low_in = self._network(Pointwise(low, np.zeros(len(low), np.float32)))
        skip = self._array("encoder.skip")
        self.skip_in = self._network(Pointwise(skip, np.zeros(len(skip), np.float32), may_round=True))
        low, refine = self._array("decoder.low"), self._pointwise("decoder.low_refine", False)
        self.low_out = self._network(Pointwise(low, np.zeros(len(low), np.float32)))
        self.low_refine = self._network(refine)
        self.low_waves = self._network(Pointwise(self.cosines, np.zeros(len(self.cosines), np.float32)))
        self.encoder_in, self.encoder_blocks, self.encoder_out = self._stack(
            "encoder", preset.encoder_blocks, preset.encoder_ahead, rounded=True
        )
        self.decoder_in, self.decoder_blocks, self.decoder_out = self._stack(
            "decoder", preset.decoder_blocks, preset.decoder_ahead, rounded=False
        )

    def encoder(self, threads: int = 1) -> Encoder:
        """Return the state of an analysis that has seen nothing."""
        return Encoder(self, threads)

    def decoder(self, threads: int = 1) -> Decoder:
        """Return the state of a synthesis that has seen nothing."""
        return Decoder(self, threads)

    def _stack(
        self, name: str, blocks: int, ahead: int, *, rounded: bool
    ) -> tuple[FloatNetwork, list[_Filter], FloatNetwork]:
        """Layers before the blocks, the blocks, the layer after."""
        made = []
        for i in range(blocks):
            taps, bias = (self._array(f"{name}.block{i}.{part}") for part in ("taps", "taps_bias"))
            network = FloatNetwork(
                [
                    self._pointwise(f"{name}.block{i}.widen", rounded, activation=True),
                    self._pointwise(f"{name}.block{i}.narrow", rounded),
                ],
                channels=taps.shape[1],
            )
            made.append(_Filter(taps, bias, network, int(i < ahead)))
        enter = self._pointwise(f"{name}.enter", False)
        leave = self._pointwise(f"{name}.leave", rounded)
        return self._network(enter), made, self._network(leave)

    @staticmethod
    def _network(layer: Pointwise) -> FloatNetwork:
        return FloatNetwork([layer], channels=layer.weight.shape[1])

    def _pointwise(self, name: str, rounded: bool, activation: bool = False) -> Pointwise:
        weight, bias = self._array(f"{name}.weight"), self._array(f"{name}.bias")
        return Pointwise(weight, bias, activation=activation, may_round=rounded)

    def _array(self, name: str) -> Floats:
        return np.ascontiguousarray(self._tensors[name], np.float32)


class _Filter:
    """Weights of a block: a depthwise filter over frames, and the network that widens and narrows."""

    def __init__(self, taps: Floats, bias: Floats, network: FloatNetwork, ahead: int) -> None:
        self.taps, self.bias, self.network, self.ahead = taps, bias, network, ahead


class _Running:
    """A block on its way through a recording."""

    def __init__(self, block: _Filter, threads: int) -> None:
        self._block, self._threads = block, threads
        self._seen = np.zeros((TAPS - 1 - block.ahead, block.taps.shape[1]), np.float32)

    def push(self, x: Floats, last: bool) -> Floats:
        """Frames (T, C) -> the frames (T', C) that are certain now."""
        block = self._block
        before = TAPS - 1 - block.ahead
        parts = [self._seen, x]
        if last and block.ahead:
            parts.append(np.zeros((block.ahead, x.shape[1]), np.float32))
        seen = np.concatenate(parts)
        count = max(len(seen) - before - block.ahead, 0)
        self._seen = seen[count:].copy()
        if not count:
            return x[:0]
        mixed = seen[:count] * block.taps[0]
        for tap in range(1, TAPS):
            mixed += seen[tap : tap + count] * block.taps[tap]
        mixed += block.bias
        made: Floats = block.network(_normalised(mixed)[None], threads=self._threads)[0]
        made += seen[before : before + count]
        return made


class Encoder:
    """Samples -> latents."""

    def __init__(self, engine: Engine, threads: int) -> None:
        p = engine.preset
        self._engine, self._threads = engine, threads
        self._blocks = [_Running(block, threads) for block in engine.encoder_blocks]
        self._samples = np.zeros((p.window - p.hop) // 2, np.float32)
        self._low = np.empty((0, p.latent), np.float32)  # what linear branches add to later latents

    def push(self, samples: Floats, last: bool = False) -> Floats:
        """Add samples and return the latents (T, D) that are certain now.

        Parameters
        ----------
        samples : float32 (N,)
            At the model's rate, about `LEVEL` loud.
        last
            Whether nothing follows: then all samples together are a multiple of the frame.
        """
        p = self._engine.preset
        parts = [self._samples, samples]
        if last:
            parts.append(np.zeros(p.window - p.hop - (p.window - p.hop) // 2, np.float32))
        seen = np.concatenate(parts)
        frames = max((len(seen) - p.window + p.hop) // p.frame, 0)
        x = np.empty((0, p.encoder_width), np.float32)
        if frames:
            windows = np.lib.stride_tricks.sliding_window_view(seen, p.window)[:: p.hop][: HOPS * frames]
            features = self._features(windows)[None]
            x = self._engine.encoder_in(features, threads=self._threads)[0]
            early = (p.window - p.hop) // 2 - p.frame // 2
            spans = np.lib.stride_tricks.sliding_window_view(seen[early:], 2 * p.frame)[:: p.frame][:frames]
            low = self._engine.low_in(np.ascontiguousarray(spans)[None], threads=self._threads)[0]
            low += self._engine.skip_in(features, threads=self._threads)[0]
            self._low = np.concatenate([self._low, low])
        self._samples = seen[frames * p.frame :].copy()
        for block in self._blocks:
            x = block.push(x, last)
        if not len(x):
            return np.empty((0, p.latent), np.float32)
        latents: Floats = self._engine.encoder_out(_normalised(x)[None], threads=self._threads)[0]
        latents += self._low[: len(latents)]
        self._low = self._low[len(latents) :].copy()
        return latents

    def _features(self, windows: Floats) -> Floats:
        """(2T, window) -> (T, 6 bins), as `transform.AudioModel.features`."""
        p = self._engine.preset
        spectra = np.fft.rfft(windows * self._engine.window) / np.float32(p.window / 4)
        real, imaginary = spectra.real.astype(np.float32), spectra.imag.astype(np.float32)
        magnitude = np.maximum(np.sqrt(real * real + imaginary * imaginary), np.float32(MAGNITUDE_FLOOR))
        logs = np.log(magnitude)
        scale = np.exp(logs * np.float32(COMPRESSION - 1))
        parts = [real * scale, imaginary * scale, logs * np.float32(0.25) + np.float32(1)]
        return np.ascontiguousarray(np.concatenate(parts, 1).reshape(-1, HOPS * 3 * p.bins))


class Decoder:
    """Latents -> samples."""

    def __init__(self, engine: Engine, threads: int) -> None:
        p = engine.preset
        self._engine, self._threads = engine, threads
        self._blocks = [_Running(block, threads) for block in engine.decoder_blocks]
        self._sum = np.zeros((3, p.hop), np.float32)  # of windows that reach into what follows
        self._skip = (p.window - p.hop) // 2  # what windows before the first sample hold
        self._latents = np.empty((0, p.latent), np.float32)  # of frames that the blocks have not given yet
        self._low_sum = np.zeros(p.frame, np.float32)
        self._low = np.empty(0, np.float32)  # samples of the linear branch that wait for the others
        self._low_skip = p.frame // 2

    def push(self, latents: Floats, last: bool = False) -> Floats:
        """Add latents (T, D) and return the samples that are certain now; with ``last``, all of them."""
        p, engine = self._engine.preset, self._engine
        x = np.empty((0, p.decoder_width), np.float32)
        if len(latents):
            self._latents = np.concatenate([self._latents, latents])
            x = engine.decoder_in(np.ascontiguousarray(latents)[None], threads=self._threads)[0]
        for block in self._blocks:
            x = block.push(x, last)
        total = np.empty(0, np.float32)
        if len(x):
            x = _normalised(x)
            rows = engine.noise.rows(self._latents[: len(x)])
            self._add_low(x)
            out = engine.decoder_out(x[None], threads=self._threads)[0]
            windows = self._windows(out, rows).reshape(-1, 4, p.hop)
            count = len(windows)
            hops = np.concatenate([self._sum, np.zeros((count, p.hop), np.float32)])
            for part in (3, 2, 1, 0):  # older windows first, as when they came in other pieces
                hops[part : part + count] += windows[:, part]
            self._sum = hops[count:].copy()
            total = hops[:count].reshape(-1)
        if last:
            over = p.window - p.hop - (p.window - p.hop) // 2  # what windows after the last sample hold
            total = np.concatenate([total, self._sum.reshape(-1)[:-over]])
            self._low = np.concatenate([self._low, self._low_sum[: p.frame // 2]])
        drop = min(self._skip, len(total))
        self._skip -= drop
        samples = total[drop:] + self._low[: len(total) - drop]
        self._low = self._low[len(samples) :]
        return np.asarray(samples, np.float32)

    def _add_low(self, x: Floats) -> None:
        """Samples of the linear branch, of frames whose last activations are ``x``."""
        p, engine = self._engine.preset, self._engine
        some, self._latents = self._latents[: len(x)], self._latents[len(x) :]
        low = engine.low_out(np.ascontiguousarray(some)[None], threads=self._threads)[0]
        low += engine.low_refine(x[None], threads=self._threads)[0]
        spans = engine.low_waves(low[None], threads=self._threads)[0]
        first = np.concatenate([self._low_sum[None], spans[:-1, p.frame :]]) + spans[:, : p.frame]
        self._low_sum = spans[-1, p.frame :].copy()
        made = first.reshape(-1)[self._low_skip :]
        self._low_skip = 0
        self._low = np.concatenate([self._low, made])

    def _windows(self, out: Floats, rows: NDArray[np.int64]) -> Floats:
        """(T, 6 bins) -> (2T, window): log magnitudes and directions to windowed samples."""
        p = self._engine.preset
        level, real, imaginary = np.moveaxis(out.reshape(-1, 3, p.bins), 1, 0)
        size = np.exp(np.minimum(level * np.float32(4) - np.float32(4), np.float32(LOUDEST)))
        size *= np.float32(p.window / 6) / np.sqrt(real * real + imaginary * imaginary + np.float32(1e-6))
        spectra = np.empty(real.shape, np.complex64)
        spectra.real, spectra.imag = real * size, imaginary * size
        self._engine.noise.mix(spectra, rows)
        return np.asarray(np.fft.irfft(spectra, p.window), np.float32) * self._engine.window


def _normalised(x: Floats) -> Floats:
    """Rows with mean 0 and variance 1."""
    centred = x - x.mean(axis=1, keepdims=True)
    variance = np.square(centred).mean(axis=1, keepdims=True)
    centred /= np.sqrt(variance + np.float32(1e-5))
    return np.asarray(centred, np.float32)
