"""Decoding chunk by chunk: chunks or bytes in, samples out, in memory that does not grow."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.audio import frame, gain
from siglum.codecs.audio.encoder import symbols
from siglum.codecs.audio.frame import Form
from siglum.codecs.audio.resample import Resampler, resampled_length
from siglum.codecs.audio.weights import AudioWeights, load_by_id
from siglum.codecs.container import Chunk, ChunkType, Limits
from siglum.codecs.container_chunks import IndexBuilder, read_chunk, read_chunk_head
from siglum.codecs.container_header import parse_header
from siglum.codecs.container_source import Source
from siglum.errors import BitstreamError, ChecksumMismatch, MalformedHeader, Truncated
from siglum.kernels.checksum import crc32c

Floats = NDArray[np.float32]


class ChunkDecoder:
    """Turns the chunks of a recording into its samples, in their order.

    Parameters
    ----------
    form
        What the header says.
    weights
        The model.
    threads
        For the networks; the result does not depend on it.
    """

    def __init__(self, form: Form, weights: AudioWeights, threads: int = 1) -> None:
        self.form, self._weights, self._threads = form, weights, threads
        self.ended = False  # whether the last chunk ended a segment
        self._begin()

    def _begin(self) -> None:
        p, channels = self._weights.preset, self.form.channels
        self._coders = [self._weights.engine.decoder(self._threads) for _ in range(channels)]
        self._resampler = Resampler(p.rate, self.form.rate, channels)
        self._gain: int | None = None
        self._factors = np.empty(0, np.float32)
        self._frames = 0  # of this segment so far
        self._skip = p.frame  # samples at the model's rate to drop
        self._done = 0  # samples of this segment given back
        self.ended = False

    def push(self, chunk: Chunk) -> Floats:
        """Add a DATA chunk and return the samples (N, C) that are certain now, at the recording's rate.

        Raises
        ------
        BitstreamError
            If the chunk does not decode to the checksum that it gives, or makes no sense here.
        """
        form, p = self.form, self._weights.preset
        head, parts = frame.unpack(chunk.payload, form.channels, form.frames)
        if head.reset:
            self._begin()
        elif self.ended or (self._gain is None and not self._frames):
            raise MalformedHeader("a chunk goes on with a segment that has not begun")
        frames = form.frames if head.frames is None else head.frames
        crc, latents = 0, []
        for part in parts:
            codes, counts = self._weights.prior.decode(part, frames)
            crc = crc32c(symbols(codes, counts, p.groups), crc)
            latents.append(self._weights.books.decode(codes, counts))
        if crc != chunk.symbols_crc:
            raise ChecksumMismatch("it does not decode to the checksum that it gives")
        return self._render(latents, head.gain, head.length)

    def conceal(self) -> Floats:
        """Put frames without codes where a chunk is lost."""
        if self.ended:
            return np.empty((0, self.form.channels), np.float32)
        nothing = np.zeros((self.form.frames, self._weights.preset.latent), np.float32)
        return self._render([nothing] * self.form.channels, self._gain or 0, None)

    def _render(self, latents: list[Floats], own: int, length: int | None) -> Floats:
        p, frames = self._weights.preset, len(latents[0])
        before = own if self._gain is None else self._gain
        self._factors = np.concatenate([self._factors, gain.curve(before, own, frames, p.frame)])
        self._gain, self._frames = own, self._frames + frames
        last = length is not None
        if last and resampled_length(length or 0, self.form.rate, p.rate) > (self._frames - 1) * p.frame:
            raise MalformedHeader(f"{length} samples are announced where {self._frames} frames are coded")
        made = [coder.push(part, last) for coder, part in zip(self._coders, latents, strict=True)]
        samples = np.stack(made, axis=1)
        samples /= self._factors[: len(samples), None]
        self._factors = self._factors[len(samples) :]
        drop = min(self._skip, len(samples))
        self._skip, samples = self._skip - drop, samples[drop:]
        if self.form.channels == 2:
            samples = np.stack([samples[:, 0] + samples[:, 1], samples[:, 0] - samples[:, 1]], axis=1)
        if length is None:
            samples = self._resampler.push(samples)
            self._done += len(samples)
            return samples
        samples = self._resampler.push(samples, last=True)
        wanted = length - self._done
        if wanted < 0:
            raise MalformedHeader(f"{length} samples are announced where {self._done} are coded already")
        samples = samples[:wanted]
        self.ended = True
        missing = wanted - len(samples)
        return np.pad(samples, ((0, missing), (0, 0))) if missing else samples


class StreamDecoder:
    """Takes the bytes of a `.sgl` file as they come and gives samples.

    Parameters
    ----------
    partial
        Take a file that was cut off for what is whole in it.
    conceal
        Where a chunk is damaged, go on with silence or a guess, and report it, instead of raising.
    report
        Called with a sentence for each chunk that was concealed.
    limits
        What is accepted.
    threads
        For the networks.

    Attributes
    ----------
    form
        What the header says, once it has come.
    """

    def __init__(
        self,
        *,
        partial: bool = False,
        conceal: bool = False,
        report: Callable[[str], None] | None = None,
        limits: Limits | None = None,
        threads: int = 1,
    ) -> None:
        self.form: Form | None = None
        self._partial, self._conceal, self._threads = partial, conceal, threads
        self._report = report or (lambda text: None)
        self._limits = limits or frame.LIMITS
        self._index = IndexBuilder(self._limits)
        self._bytes = bytearray()
        self._at = 0  # of the first byte that is kept
        self._decoder: ChunkDecoder | None = None
        self._skip = self._given = 0
        self._ended = False

    @property
    def latency(self) -> float:
        """Seconds that the newest samples wait for the chunk after theirs; 0 before the header has come."""
        if self._decoder is None:
            return 0.0
        p = self._decoder._weights.preset
        return (p.decoder_ahead + 1) * p.frame / p.rate

    def push(self, data: bytes) -> Floats:
        """Add bytes and return the samples (N, C) that are certain now.

        Raises
        ------
        BitstreamError
            If the file is damaged; a chunk is named by its time.
        """
        self._bytes += data
        if self.form is None and not self._begin():
            return np.empty((0, 1), np.float32)
        assert self.form is not None
        made = [np.empty((0, self.form.channels), np.float32)]
        while (chunk := self._next()) is not None:
            made.append(self._trimmed(self._decoded(chunk)))
        return np.concatenate(made)

    def finish(self) -> Floats:
        """End the file and return what is left of it.

        Raises
        ------
        Truncated
            If it is not whole, unless `partial`.
        """
        if self.form is None:
            parse_header(Source(bytes(self._bytes)), self._limits)  # says what is wrong
            raise Truncated("the file ends before its first chunk")
        if not self._ended and not self._partial:
            raise Truncated(
                f"the file ends in the middle, {self._clock(self._index.next_sequence(ChunkType.DATA))}: get it again, "
                "or decode what there is with --partial"
            )
        if self._ended and self._decoder is not None and not self._decoder.ended and not self._partial:
            raise Truncated(
                "the file lacks its last chunk: get it again, or decode what there is with --partial"
            )
        if self._ended and not self._partial and self.form.length not in (None, self._given):
            raise MalformedHeader(
                f"the header announces {self.form.length} samples, and {self._given} are coded"
            )
        return np.empty((0, self.form.channels), np.float32)

    def _begin(self) -> bool:
        source = Source(bytes(self._bytes))
        try:
            header = parse_header(source, self._limits)
        except Truncated:
            return False
        self.form = frame.form_of(header)
        self._skip = self.form.skip
        self._decoder = ChunkDecoder(self.form, load_by_id(header.model), self._threads)
        self._drop(source.offset)
        return True

    def _drop(self, count: int) -> None:
        del self._bytes[:count]
        self._at += count

    def _next(self) -> Chunk | None:
        """The next DATA chunk, if it is here."""
        while self._bytes and not self._ended:
            source = Source(bytes(self._bytes))
            sequence = self._index.next_sequence(ChunkType.DATA)
            try:
                chunk, alone = read_chunk(source, self._limits)
            except Truncated:
                return None
            except ChecksumMismatch as error:
                if not self._conceal:
                    raise ChecksumMismatch(f"{self._clock(sequence)}: {error}") from None
                size = self._size()
                chunk, alone = Chunk(ChunkType.DATA, sequence, b""), False
                self._index.add(chunk, size)
                self._drop(size)
                return chunk
            if chunk.type == ChunkType.INDEX:
                if alone or chunk.payload != self._index.payload():
                    raise MalformedHeader("the index does not describe the chunks before it")
                self._ended = True
                self._drop(source.offset)
                return None
            if chunk.sequence != self._index.next_sequence(chunk.type):
                raise MalformedHeader(
                    f"chunk {chunk.sequence} stands where number {self._index.next_sequence(chunk.type)} is due"
                )
            self._index.check_limit(self._at)
            self._index.add(chunk, source.offset)
            self._drop(source.offset)
            self._ended = alone
            if chunk.type == ChunkType.DATA:
                return chunk
        if self._ended and self._bytes:
            raise MalformedHeader(f"bytes follow the end of the file, from byte {self._at}; cut them off")
        return None

    def _size(self) -> int:
        source = Source(bytes(self._bytes))
        raw, size, _ = read_chunk_head(source, self._limits)
        return source.offset + size + (8 if raw[0] & 0x40 else 4)

    def _decoded(self, chunk: Chunk) -> Floats:
        assert self._decoder is not None and self.form is not None
        if not chunk.payload:
            self._report(f"{self._clock(chunk.sequence)} is damaged and was concealed")
            return self._decoder.conceal()
        try:
            return self._decoder.push(chunk)
        except BitstreamError as error:
            if self._conceal:
                self._report(f"{self._clock(chunk.sequence)} is damaged and was concealed: {error}")
                return self._decoder.conceal()
            raise type(error)(f"{self._clock(chunk.sequence)}: {error}") from None

    def _trimmed(self, samples: Floats) -> Floats:
        drop = min(self._skip, len(samples))
        self._skip -= drop
        samples = samples[drop:]
        self._given += len(samples)
        return samples

    def _clock(self, sequence: int) -> str:
        """Where a chunk stands in the recording, for messages."""
        assert self.form is not None and self._decoder is not None
        p = self._decoder._weights.preset
        span = self.form.frames * p.frame / p.rate
        start = sequence * span - self.form.skip / self.form.rate
        return f"chunk {sequence} ({max(start, 0):.2f} to {start + span:.2f} s)"
