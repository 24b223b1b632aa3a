"""Encoding block by block: samples in, bytes of a file out, in memory that does not grow."""

from __future__ import annotations

import io
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siglum.codecs import container
from siglum.codecs.audio import allocate, frame, gain
from siglum.codecs.audio.frame import Form, Head
from siglum.codecs.audio.gain import RAMP
from siglum.codecs.audio.presets import Preset
from siglum.codecs.audio.recording import as_samples, check_form
from siglum.codecs.audio.resample import Resampler, resampled_length
from siglum.codecs.audio.weights import AudioWeights
from siglum.codecs.container import ChunkType
from siglum.errors import UsageError
from siglum.kernels.checksum import crc32c

Floats = NDArray[np.float32]
Codes = NDArray[np.int32]
_HOLD = RAMP // 2  # frames of the next chunk whose gain is known
_FRAMING = 20  # bytes of a chunk besides its codes, at most, with its entry in the index
_CLOSING = 24  # bytes of the index, entries apart
_CARRIED = 2  # chunks whose unspent bits a later one may use
_TRIES = 5
_FULL = 0.97  # of the room that a chunk has: so much is enough
_FILTER = 800  # samples, at the lower of two rates, that soxr holds back at most
DEFAULT_QUALITY = 70.0
QUALITY_STEP = 12.0  # points of quality that halve the weight of a bit
MIDDLE = 2.0**-9  # weight of a bit at quality 50, in units of the model's


class _Tried(NamedTuple):
    """Codes (T, S), stages (T,) and payloads of a chunk's channels."""

    codes: list[Codes]
    counts: list[NDArray[np.uint8]]
    payloads: list[bytes]

    @property
    def bits(self) -> int:
        return 8 * sum(map(len, self.payloads))


class StreamEncoder:
    """Takes samples as they come and gives the bytes of a `.sgl` file.

    Parameters
    ----------
    rate
        Samples a second, 4,000 to 768,000.
    channels
        1 to 8; two are coded as their mean and half their difference.
    weights
        The model.
    bitrate
        Bits a second that the whole file has at most, or None: by quality.
    quality
        0 to 100.
    beam
        Partial solutions of the search for codes.
    price
        Price of a bit in that search, as `siglum.codecs.audio.prior.Prior.choose` takes it; not with a beam.
    frames
        Frames of a chunk: None for about 1.5 kB, at least 16.
    length
        Samples that will come, if that is known: it is written to the header.
    depth
        Bits of a sample where they come from, for the header.
    threads
        For the networks and searches; the result does not depend on it.

    Raises
    ------
    UsageError, UnsupportedInputError
        If a setting is out of range.
    """

    def __init__(
        self,
        rate: int,
        channels: int,
        weights: AudioWeights,
        *,
        bitrate: float | None = None,
        quality: float = DEFAULT_QUALITY,
        beam: int = 1,
        price: float = 0.0,
        frames: int | None = None,
        length: int | None = None,
        depth: int | None = None,
        threads: int = 1,
    ) -> None:
        check_form(rate, channels)
        p = weights.preset
        per_second = p.rate / p.frame
        if frames is None:
            wanted = 1500 * 8 / bitrate * per_second if bitrate else 4 * per_second
            frames = min(max(round(wanted / 50) * 50, 100), 400)
        if not RAMP <= frames <= frame.MOST_FRAMES:
            raise UsageError(f"chunks have {RAMP} to {frame.MOST_FRAMES} frames, not {frames}")
        self.form = Form(rate, channels, frames, length, depth)
        self._weights, self._bitrate, self._threads = weights, bitrate, threads
        self._beam, self._price = beam, price
        self._weight = MIDDLE * 2 ** ((50 - quality) / QUALITY_STEP) * weights.unit
        self._sink = io.BytesIO()
        nominal = None if bitrate is None else round(bitrate)
        header = frame.header_of(self.form, weights.id, nominal)
        self._writer = container.Writer(self._sink, header, frame.LIMITS, hold=length is not None)
        # Bits that chunks so far left of their share; the frames around the recording have none.
        self._saved = -8.0 * (self._writer.size + _CLOSING) - (bitrate or 0.0) * 3 * p.frame / p.rate
        self._block = max(rate * _HOLD * p.frame // p.rate, 1)  # what the resampler gets at once
        self._given = np.empty((0, channels), np.float32)
        self._count = 0
        self._resampler = Resampler(rate, p.rate, channels)
        self._waiting = np.empty((0, channels), np.float32)  # at the model's rate
        self._arrived = 0
        self._fed = 0  # frames of what waits that the networks have already
        self._gain: int | None = None
        self._gains: list[int] = []
        self._heard: list[Floats] = []
        self._coders = [weights.engine.encoder(threads) for _ in range(channels)]
        self._latents = [np.empty((0, p.latent), np.float32) for _ in range(channels)]
        self._chunks = 0
        self._closed = False
        self._add(
            np.zeros((p.frame, channels), np.float32)
        )  # so that all windows of the first sample are there

    @property
    def latency(self) -> float:
        """Seconds from a sample to the chunk that holds it, at most; decoding adds `StreamDecoder.latency`."""
        return latency(self._weights.preset, self.form.frames, self.form.rate)

    def push(self, samples: ArrayLike) -> bytes:
        """Add samples (N, C) or (N,) and return what the file has more now, often nothing.

        Raises
        ------
        UnsupportedInputError
            If samples are NaN, or of another number of channels.
        """
        if self._closed:
            raise UsageError("this recording is closed: begin another StreamEncoder")
        values = as_samples(samples)
        if values.shape[1] != self.form.channels:
            raise UsageError(f"samples have {values.shape[1]} channels, not {self.form.channels}")
        self._count += len(values)
        if self.form.length is not None and self._count > self.form.length:
            raise UsageError(f"more samples came than the {self.form.length} that were announced")
        self._given = np.concatenate([self._given, values])
        while len(self._given) > self._block:
            block, self._given = self._given[: self._block], self._given[self._block :]
            self._add(self._resampler.push(block))
        return self._drain()

    def finish(self) -> bytes:
        """Return the rest of the file.

        Raises
        ------
        UsageError
            If fewer samples came than were announced.
        """
        if self._closed:
            return b""
        if self.form.length is not None and self._count != self.form.length:
            raise UsageError(f"{self._count} samples came, and {self.form.length} were announced")
        self._closed = True
        p = self._weights.preset
        rest = self._resampler.push(self._given, last=True) if self._count else self._given
        rest = rest[: p.frame + resampled_length(self._count, self.form.rate, p.rate) - self._arrived]
        self._add(rest)
        # A frame after the last sample, so that all windows that hold it are there.
        self._add(
            np.zeros((p.frame - self._arrived % p.frame + p.frame, self.form.channels), np.float32), last=True
        )
        while len(self._latents[0]) > self.form.frames:
            self._code(self.form.frames, None)
        self._code(len(self._latents[0]), self._count)
        self._writer.close()
        return self._drain()

    def _drain(self) -> bytes:
        data = self._sink.getvalue()
        self._sink.seek(0)
        self._sink.truncate()
        return data

    def _add(self, samples: Floats, last: bool = False) -> None:
        """Samples at the model's rate: level what is certain, give it to the networks, write chunks that are whole."""
        self._arrived += len(samples)
        if self.form.channels == 2:
            mid = samples.mean(axis=1, dtype=np.float32)
            samples = np.stack([mid, samples[:, 0] - mid], axis=1)
        self._waiting = np.concatenate([self._waiting, samples])
        size, most = self._weights.preset.frame, self.form.frames
        while (ready := len(self._waiting) // size) and (last or ready >= most + _HOLD):
            own = min(most, ready)
            ahead = min(_HOLD, ready - own)
            chosen = self._gain
            if chosen is None or own > _HOLD:
                chosen = gain.choose(self._waiting[: own * size], size, self._gain)
            factors = gain.curve(chosen if self._gain is None else self._gain, chosen, own, size)
            factors = np.concatenate([factors, gain.curve(chosen, chosen, ahead, size)])[self._fed * size :]
            if len(factors):
                levelled = self._waiting[self._fed * size : (own + ahead) * size] * factors[:, None]
                self._analyse(levelled, last and own + ahead == ready)
            self._gain = chosen
            self._gains.append(chosen)
            self._heard.append(gain.heard(self._waiting[: own * size]))
            self._fed, self._waiting = ahead, self._waiting[own * size :]
            while not last and len(self._latents[0]) >= most:
                self._code(most, None)

    def _analyse(self, levelled: Floats, last: bool) -> None:
        for channel, coder in enumerate(self._coders):
            made = coder.push(np.ascontiguousarray(levelled[:, channel]), last)
            self._latents[channel] = np.concatenate([self._latents[channel], made])

    def _code(self, frames: int, length: int | None) -> None:
        """Write the next chunk; ``length`` for the last one."""
        p = self._weights.preset
        some = [latents[:frames] for latents in self._latents]
        self._latents = [latents[frames:] for latents in self._latents]
        share = math.inf if self._bitrate is None else self._bitrate * frames * p.frame / p.rate
        tried = self._fill(some, share + self._saved - 8 * _FRAMING)
        crc = 0
        for part, n in zip(tried.codes, tried.counts, strict=True):
            crc = crc32c(symbols(part, n, p.groups), crc)
        head = Head(
            self._chunks == 0, self._gains[self._chunks], (), frames if length is not None else None, length
        )
        payload = frame.pack(head, tried.payloads)
        self._writer.add(ChunkType.DATA, payload, symbols_crc=crc)
        if self._bitrate is not None:
            self._saved = min(self._saved + share - 8 * (len(payload) + _FRAMING - 4), _CARRIED * share)
        self._chunks += 1

    def _fill(self, latents: list[Floats], room: float) -> _Tried:
        """Codes for a chunk's channels: by the quality, or as many as fit into so many bits, found by trying."""
        found = [self._weights.books.encode(part, self._threads) for part in latents]
        codes = [each[0] for each in found]
        heard = self._heard[self._chunks]
        errors = np.concatenate([part * each[1] for part, each in zip(heard, found, strict=True)])
        bits = np.concatenate([self._bits(each) for each in codes])
        if self._bitrate is None:
            return self._try(latents, codes, allocate.at(errors, bits, self._weight))
        target, best = room, None
        for _ in range(_TRIES - 1):
            tried = self._try(latents, codes, allocate.within(errors, bits, target))
            spent, full = tried.bits, min(map(np.min, tried.counts)) == self._weights.preset.stages
            if best is not None and best.bits <= room < spent and target < room:
                return best
            if best is None or best.bits < spent <= room or best.bits > room:
                best = tried
            if _FULL * room <= spent <= room or (spent <= room and full):
                return best
            target *= min(max(room / max(spent, 1.0), 0.5), 1.5) * (0.99 if spent > room else 1.0)
        assert best is not None
        return best if best.bits <= room else self._try(latents, codes, allocate.within(errors, bits, 0))

    def _try(self, latents: list[Floats], codes: list[Codes], counts: NDArray[np.uint8]) -> _Tried:
        """What a chunk costs with stages (C * T,) of its channels' frames."""
        each = np.split(counts, len(codes))
        chosen = [self._chosen(*parts) for parts in zip(latents, codes, each, strict=True)]
        payloads = [self._weights.prior.encode(part, n) for part, n in zip(chosen, each, strict=True)]
        return _Tried(chosen, each, payloads)

    def _chosen(self, latents: Floats, codes: Codes, counts: NDArray[np.uint8]) -> Codes:
        """Better codes for the stages that frames have: nearer ones, or cheaper ones."""
        if self._beam > 1:
            return self._weights.books.refine(latents, codes, counts, self._beam, self._threads)
        return self._weights.cheap(latents, counts, self._price) if self._price else codes

    def _bits(self, codes: Codes) -> Floats:
        """What 0 to R stages of each frame cost, (T, R + 1)."""
        p = self._weights.preset
        each = self._weights.prior.bits(codes).reshape(len(codes), p.stages, p.groups).sum(2)
        return np.concatenate([np.zeros((len(codes), 1), np.float32), np.cumsum(each, axis=1)], axis=1)


def latency(p: Preset, frames: int, rate: int) -> float:
    """Seconds that a sample waits for the rest of its chunk, for the gain of the next, and for resampling."""
    waiting = (frames + 2 * _HOLD + 1) * p.frame / p.rate
    return waiting + (0 if rate == p.rate else _FILTER / min(rate, p.rate))


def symbols(codes: Codes, counts: NDArray[np.uint8], groups: int) -> bytes:
    """What the checksum of a chunk covers: the stages of every frame, and the codes that there are."""
    used = np.arange(codes.shape[1])[None] // groups < counts[:, None]
    return counts.astype(np.uint8).tobytes() + codes[used].astype("<u2").tobytes()
