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
from siglum.codecs.container_chunks import ALONE, SYMBOLS, IndexBuilder, read_chunk, read_chunk_head
from siglum.codecs.container_header import SIGNATURE, parse_header
from siglum.codecs.container_source import Source
from siglum.errors import BitstreamError, ChecksumMismatch, LimitExceeded, MalformedHeader, Truncated
from siglum.kernels.checksum import crc32c

Floats = NDArray[np.float32]
MOST_SAMPLES = 2**26  # of a chunk, over all channels
_HEAD = 24  # bytes that the head of a chunk has at most, and more


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
    lax
        Whether a segment may begin before the one before has ended: its end was lost.

    Raises
    ------
    LimitExceeded
        If a chunk would have more than 2**26 samples.
    """

    def __init__(self, form: Form, weights: AudioWeights, threads: int = 1, lax: bool = False) -> None:
        self.form, self.preset, self._lax = form, weights.preset, lax
        self._weights, self._threads = weights, threads
        p = weights.preset
        if form.frames * p.frame * form.rate // p.rate * form.channels > MOST_SAMPLES:
            raise LimitExceeded(f"chunks of {form.frames} frames are too long at {form.rate} Hz")
        self.ended = False  # whether the last chunk ended a segment
        self.begin()

    def begin(self, skip: int | None = None, length: int | None = None) -> None:
        """Forget everything: a segment begins, of which a number of samples are dropped where it was cut out."""
        p, channels = self._weights.preset, self.form.channels
        self._coders = [self._weights.engine.decoder(self._threads) for _ in range(channels)]
        self._resampler = Resampler(p.rate, self.form.rate, channels)
        self._gain: int | None = None
        self._factors = np.empty(0, np.float32)
        self._frames = 0  # of this segment so far
        self._lead = p.frame  # samples at the model's rate to drop
        self._done = 0  # samples of this segment made, those that are dropped too
        self._drop = skip or 0
        self._length = None if skip is None else length
        self.ended = False

    @property
    def position(self) -> int:
        """Samples of this segment that come before the next chunk's, at the recording's rate."""
        p = self._weights.preset
        before = max(self._frames - 1, 0) * p.frame * self.form.rate // p.rate - self._drop
        return 0 if self.ended else max(before, 0)

    def push(self, chunk: Chunk) -> Floats:
        """Add a DATA chunk and return the samples (N, C) that are certain now, at the recording's rate.

        Raises
        ------
        BitstreamError
            If the chunk does not decode to the checksum that it gives, or makes no sense here.
        """
        form, p = self.form, self._weights.preset
        head, parts = frame.unpack(chunk.payload, form.channels, form.frames)
        if not head.reset and (self.ended or not self._frames):
            raise MalformedHeader("it goes on with a segment that has not begun")
        if head.reset and self._frames and not self.ended and not self._lax:
            raise MalformedHeader("it begins a segment before the one before has ended")
        frames = form.frames if head.frames is None else head.frames
        crc, latents = 0, []
        for part in parts:
            codes, counts = self._weights.prior.decode(part, frames)
            crc = crc32c(symbols(codes, counts, p.groups), crc)
            latents.append(self._weights.books.decode(codes, counts))
        if crc != chunk.symbols_crc:
            raise ChecksumMismatch("it does not decode to the checksum that it gives")
        before = self.flush() if head.reset else np.empty((0, form.channels), np.float32)
        if head.reset:
            self.begin(head.skip, head.length)
        made = self._render(latents, head.gain, None if head.frames is None else head.length)
        return np.concatenate([before, made]) if len(before) else made

    def conceal(self) -> Floats:
        """Put frames without codes where a chunk is lost."""
        if self.ended:
            self.begin()
        nothing = np.zeros((self.form.frames, self._weights.preset.latent), np.float32)
        return self._render([nothing] * self.form.channels, self._gain or 0, None)

    def flush(self) -> Floats:
        """End a segment whose last chunk is missing: the samples that waited for it."""
        if self.ended or not self._frames:
            return np.empty((0, self.form.channels), np.float32)
        nothing = np.empty((0, self._weights.preset.latent), np.float32)
        return self._render([nothing] * self.form.channels, self._gain or 0, None, last=True)

    def _render(self, latents: list[Floats], own: int, length: int | None, last: bool = False) -> Floats:
        p, frames = self._weights.preset, len(latents[0])
        before = own if self._gain is None else self._gain
        self._factors = np.concatenate([self._factors, gain.curve(before, own, frames, p.frame)])
        self._gain, self._frames = own, self._frames + frames
        last = last or length is not None
        if length is not None:
            self._check_length(length)
        made = [coder.push(part, last) for coder, part in zip(self._coders, latents, strict=True)]
        samples = np.stack(made, axis=1)
        samples /= self._factors[: len(samples), None]
        self._factors = self._factors[len(samples) :]
        drop = min(self._lead, len(samples))
        self._lead, samples = self._lead - drop, samples[drop:]
        if self.form.channels == 2:
            samples = np.stack([samples[:, 0] + samples[:, 1], samples[:, 0] - samples[:, 1]], axis=1)
        samples = self._resampler.push(samples, last)
        self.ended = last
        missing = 0 if length is None else length - self._done - len(samples)
        if missing > 0:
            samples = np.pad(samples, ((0, missing), (0, 0)))
        return self._meant(samples, length)

    def _check_length(self, length: int) -> None:
        """Object to the length that the end of a segment gives, if it cannot be."""
        p = self._weights.preset
        if resampled_length(length, self.form.rate, p.rate) > (self._frames - 1) * p.frame:
            raise MalformedHeader(f"{length} samples are announced where {self._frames} frames are coded")
        if self._length not in (None, length):
            raise MalformedHeader(f"a segment of {self._length} samples ends with {length}")
        if self._length is None and length < self._done:
            raise MalformedHeader(f"{length} samples are announced where {self._done} are coded already")

    def _meant(self, samples: Floats, length: int | None) -> Floats:
        """Those of newly made samples that belong to the recording."""
        start, stop = max(self._drop - self._done, 0), len(samples)
        most = self._length if length is None else length
        if most is not None:
            stop = min(stop, max(most - self._done, 0))
        self._done += len(samples)
        return samples[start:stop] if start < stop else samples[:0]


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
        self._given = 0  # samples so far
        self._before = 0  # of them, those of segments that have ended
        self._ended = False

    @property
    def latency(self) -> float:
        """Seconds that the newest samples wait for the chunk after theirs; 0 before the header has come."""
        if self._decoder is None:
            return 0.0
        p = self._decoder.preset
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
            made.append(self._counted(self._decoded(chunk)))
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
        assert self._decoder is not None
        lax, wanted = self._partial or self._conceal, self.form.length
        if not self._index.next_sequence(ChunkType.DATA):
            raise Truncated("the file ends before its first chunk is whole: get it again")
        if not self._ended and not lax:
            where = self._clock(self._index.next_sequence(ChunkType.DATA))
            raise Truncated(
                f"the file ends in the middle, at {where}: get it again, or decode what there is with --partial"
            )
        if not self._decoder.ended and not lax:
            raise Truncated(
                "the file lacks its last chunk: get it again, or decode what there is with --partial"
            )
        rest = self._counted(self._decoder.flush())
        if not lax and wanted not in (None, self._given):
            raise MalformedHeader(f"the header announces {wanted} samples, and {self._given} are coded")
        return rest

    def _begin(self) -> bool:
        if SIGNATURE.startswith(self._bytes):
            return False
        source = Source(bytes(self._bytes))
        try:
            header = parse_header(source, self._limits)
        except Truncated:
            return False
        form = frame.form_of(header)
        self._decoder = ChunkDecoder(form, load_by_id(header.model), self._threads, self._conceal)
        self.form = form
        self._drop(source.offset)
        return True

    def _drop(self, count: int) -> None:
        del self._bytes[:count]
        self._at += count

    def _next(self) -> Chunk | None:
        """The next DATA chunk, if it is here; of a damaged one that is concealed, without a payload."""
        while self._bytes and not self._ended:
            size = self._size()
            if size is None or size > len(self._bytes):
                return None
            sequence = self._index.next_sequence(ChunkType.DATA)
            alone = bool(self._bytes[0] & ALONE)
            try:
                chunk, _ = read_chunk(Source(bytes(self._bytes[:size]), self._at), self._limits)
            except ChecksumMismatch as error:
                if not self._conceal:
                    raise ChecksumMismatch(f"{self._clock(sequence)}: {error}") from None
                chunk = Chunk(ChunkType.DATA, sequence, b"")
            if chunk.type == ChunkType.INDEX:
                if alone or chunk.payload != self._index.payload():
                    raise MalformedHeader(
                        f"the index at byte {self._at} does not describe the chunks before it"
                    )
                self._ended = True
                self._drop(size)
                break
            if chunk.sequence != self._index.next_sequence(chunk.type) or (alone and self._index.chunks):
                raise MalformedHeader(
                    f"chunk {chunk.sequence} at byte {self._at} stands where number "
                    f"{self._index.next_sequence(chunk.type)} is due"
                )
            self._index.check_limit(self._at)
            self._index.add(chunk, size)
            self._drop(size)
            self._ended = alone
            if chunk.type == ChunkType.DATA:
                return chunk
        if self._ended and self._bytes:
            raise MalformedHeader(f"bytes follow the end of the file, from byte {self._at}; cut them off")
        return None

    def _size(self) -> int | None:
        """Bytes of the next chunk, with its frame; None before its head has come."""
        source = Source(bytes(self._bytes[:_HEAD]), self._at)
        try:
            raw, size, _ = read_chunk_head(source, self._limits)
        except Truncated:
            return None
        return source.offset - self._at + size + (8 if raw[0] & SYMBOLS else 4)

    def _decoded(self, chunk: Chunk) -> Floats:
        assert self._decoder is not None
        where = self._clock(chunk.sequence)
        if not chunk.payload:
            self._report(f"{where} is damaged and was concealed")
            return self._decoder.conceal()
        try:
            return self._decoder.push(chunk)
        except BitstreamError as error:
            if self._conceal:
                self._report(f"{where} is damaged and was concealed: {error}")
                return self._decoder.conceal()
            raise type(error)(f"{where}: {error}") from None

    def _counted(self, samples: Floats) -> Floats:
        assert self.form is not None and self._decoder is not None
        if (
            self._conceal and self.form.length is not None
        ):  # what was concealed may be longer than what was lost
            samples = samples[: self.form.length - self._given]
        self._given += len(samples)
        if self._decoder.ended:
            self._before = self._given
        return samples

    def _clock(self, sequence: int) -> str:
        """Where the chunk of that number, which comes next, stands in the recording: for messages."""
        assert self.form is not None and self._decoder is not None
        p = self._decoder.preset
        start = (self._before + self._decoder.position) / self.form.rate
        end = start + self.form.frames * p.frame / p.rate
        if self.form.length is not None:
            end = max(min(end, self.form.length / self.form.rate), start)
        return f"chunk {sequence} ({start:.2f} to {end:.2f} s)"
