"""Parts of coded recordings without coding anything again: to cut, to join, to decode from the middle.

A part keeps the chunks that hold it, those before from which the networks take what they know of the past, and one
after, into which they look ahead: decoded, it is what the whole recording has there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from siglum.codecs import container
from siglum.codecs.audio import frame
from siglum.codecs.audio.constants import TAPS
from siglum.codecs.audio.decoder import ChunkDecoder
from siglum.codecs.audio.frame import LIMITS, Head
from siglum.codecs.audio.gain import RAMP
from siglum.codecs.audio.presets import Preset
from siglum.codecs.audio.weights import AudioWeights, load_by_id
from siglum.codecs.container import Chunk, ChunkType, Limits, Reader
from siglum.codecs.container_source import Source
from siglum.errors import BitstreamError, MalformedHeader, Truncated, UsageError

Floats = NDArray[np.float32]
Changes = dict[str, Any]
_OVERLAP = 2  # frames on either side that a frame's windows share with others
_FILTER = 4  # frames on either side that resampling to a rate as high depends on


@dataclass(frozen=True)
class Segment:
    """Chunks that were coded together.

    Attributes
    ----------
    first, chunks
        Number of the first, and how many.
    frames
        Of the last of them.
    skip, length
        Samples that are dropped at the beginning, and samples in all.
    ended
        Whether its end is in the file.
    """

    first: int
    chunks: int
    frames: int
    skip: int
    length: int
    ended: bool = True

    @property
    def samples(self) -> int:
        """Samples that are meant."""
        return self.length - self.skip


class Coded:
    """A coded recording in which one can seek.

    Parameters
    ----------
    file
        A binary file object that can seek, at the first byte of a `.sgl` file.
    limits
        What is accepted.
    partial
        Take a file that was cut off for what is whole in it.
    conceal
        Take a damaged file, too.

    Raises
    ------
    BitstreamError
        If it is no audio file, or damaged.
    """

    def __init__(
        self, file: BinaryIO, limits: Limits | None = None, *, partial: bool = False, conceal: bool = False
    ) -> None:
        self._reader = Reader(file, limits or LIMITS, partial or conceal)
        self.header = self._reader.header
        self.form = frame.form_of(self.header)
        self._conceal, self._lax = conceal, partial or conceal
        try:
            entries: Sequence[container.Entry] = self._reader.entries
        except BitstreamError:
            if not conceal:
                raise
            entries = self._reader.hop(damaged=True)
        self.entries = [entry for entry in entries if entry.type == ChunkType.DATA]
        if not self.entries:
            raise Truncated("the file ends before its first chunk is whole: get it again")
        self.segments = tuple(self._segments())
        self.samples = sum(segment.samples for segment in self.segments)
        if not self._lax and self.form.length not in (None, self.samples):
            raise MalformedHeader(
                f"the header announces {self.form.length} samples, and {self.samples} are coded"
            )

    @cached_property
    def weights(self) -> AudioWeights:
        """The model.

        Raises
        ------
        UnknownModel
            If it is not installed.
        """
        return load_by_id(self.header.model)

    def _heads(self) -> Iterator[Head | None]:
        """Heads of all chunks; None for those of which nothing is sure."""
        for entry in self.entries:
            try:
                if self._conceal:
                    payload = self._reader.read(entry).payload
                else:
                    payload = self._reader.peek(entry, frame.HEAD_BYTES)
                yield frame.head_of(Source(payload), self.form.frames)
            except BitstreamError:
                if not self._conceal:
                    raise
                yield None

    def _segments(self) -> Iterator[Segment]:
        first, skip, before = -1, 0, 0
        for number, given in enumerate(self._heads()):
            head = given or Head(first < 0, 0, ())
            if head.reset != (first < 0) and not self._conceal:
                raise MalformedHeader(f"chunk {number} begins or goes on with a segment at a wrong place")
            if head.reset or first < 0:
                if first >= 0:
                    segment = self._open_ended(first, number - first, skip, before)
                    before += segment.samples
                    yield segment
                first, skip = number, head.skip or 0
            if head.frames is not None:
                length = head.length or 0
                if length < skip:
                    raise MalformedHeader(f"a segment has {length} samples, of which {skip} are dropped")
                yield Segment(first, number + 1 - first, head.frames, skip, length)
                before += length - skip
                first = -1
        if first >= 0:
            if not self._lax:
                raise Truncated(
                    "the file lacks its last chunk: get it again, or take what there is with --partial"
                )
            yield self._open_ended(first, len(self.entries) - first, skip, before)

    def _open_ended(self, first: int, chunks: int, skip: int, before: int) -> Segment:
        """A segment whose end is lost: as long as its frames, or as the header lets it be."""
        p, form = self.weights.preset, self.form
        length = (chunks * form.frames - 1) * p.frame * form.rate // p.rate
        if form.length is not None:
            length = min(length, max(form.length - before, 0) + skip)
        return Segment(first, chunks, form.frames, min(skip, length), length, False)

    def pieces(self, start: int, stop: int) -> Iterator[tuple[int, Changes]]:
        """Numbers of the chunks that samples ``start`` to ``stop - 1`` need, and what is new in their heads."""
        self._check_span(start, stop)
        before, found = 0, False
        for segment in self.segments:
            a, b = max(start - before, 0), min(stop - before, segment.samples)
            before += segment.samples
            if a < b or (start == stop and a == b and not found):
                found = True
                yield from self._pieces(segment, a + segment.skip, b + segment.skip)

    def _check_span(self, start: int, stop: int) -> None:
        if not 0 <= start <= stop <= self.samples:
            raise UsageError(f"samples {start} to {stop} are not within the {self.samples} of the recording")

    def _pieces(self, segment: Segment, a: int, b: int) -> Iterator[tuple[int, Changes]]:
        """Of one segment, samples a to b - 1 counted with those that it drops."""
        whole = a == segment.skip and b == segment.length and segment.ended
        if whole:
            yield from ((segment.first + i, {}) for i in range(segment.chunks))
            return
        p, form = self.weights.preset, self.form
        first, last = self._first(a), min(self._last(b), segment.chunks - 1)
        base = first * form.frames * p.frame * form.rate // p.rate
        for i in range(first, last + 1):
            changes: Changes = {}
            if i == last:
                frames = segment.frames if i == segment.chunks - 1 else form.frames
                changes |= {"frames": frames, "length": b - base}
            if i == first:
                changes |= {"reset": True, "skip": a - base, "length": b - base}
            yield segment.first + i, changes

    def _first(self, sample: int) -> int:
        """The chunk of a segment with which one must begin to have a sample as if all had been decoded."""
        p, form = self.weights.preset, self.form
        back = sum(TAPS - 1 - (i < p.decoder_ahead) for i in range(p.decoder_blocks)) + _OVERLAP
        wanted = sample * p.rate // form.rate // p.frame + 1 - max(back, RAMP) - _margin(p, form.rate)
        first = max(wanted // form.frames, 0)
        while (
            first * form.frames * p.frame * form.rate % p.rate
        ):  # it must begin with a sample of the recording
            first -= 1
        return first

    def _last(self, stop: int) -> int:
        """The chunk of a segment that one must have to know all samples before ``stop``."""
        p, form = self.weights.preset, self.form
        wanted = -(-stop * p.rate // form.rate) // p.frame + 1 + p.decoder_ahead + _OVERLAP
        return (wanted + _margin(p, form.rate)) // form.frames

    def chunk(self, number: int, changes: Changes) -> Chunk:
        """A chunk, read and checked, with another head.

        Raises
        ------
        BitstreamError
            If it is damaged; it is named by its time.
        """
        try:
            chunk = self._reader.read(self.entries[number])
            if not changes:
                return chunk
            payload = frame.moved(chunk.payload, self.form.channels, self.form.frames, **changes)
        except BitstreamError as error:
            raise type(error)(f"{self.clock(number)}: {error}") from None
        return Chunk(chunk.type, chunk.sequence, payload, chunk.symbols_crc)

    def clock(self, number: int) -> str:
        """Where a chunk stands in the recording, for messages."""
        p, form, before = self.weights.preset, self.form, 0
        for segment in self.segments:
            if segment.first <= number < segment.first + segment.chunks:
                span = form.frames * p.frame * form.rate // p.rate
                start = (number - segment.first) * span - (p.frame * form.rate // p.rate) * (
                    number > segment.first
                )
                places = [min(max(x - segment.skip, 0), segment.samples) for x in (start, start + span)]
                a, b = ((before + place) / form.rate for place in places)
                return f"chunk {number} ({a:.2f} to {b:.2f} s)"
            before += segment.samples
        return f"chunk {number}"

    def decode(
        self,
        start: int,
        stop: int,
        *,
        threads: int = 1,
        report: Callable[[str], None] | None = None,
    ) -> Iterator[Floats]:
        """Samples ``start`` to ``stop - 1`` in pieces (N, C), from the chunks that they need alone.

        Parameters
        ----------
        start, stop
            Samples at the recording's rate.
        threads
            For the networks.
        report
            With `conceal`: called with a sentence for each chunk that is lost.

        Raises
        ------
        BitstreamError
            If a chunk is damaged, unless `conceal`.
        """
        decoder, left = ChunkDecoder(self.form, self.weights, threads, self._conceal), stop - start
        for number, changes in self.pieces(start, stop):
            try:
                chunk = self.chunk(number, changes)
                made = decoder.push(chunk)
            except BitstreamError as error:
                where = self.clock(number)
                text = str(error).removeprefix(f"{where}: ")
                if not self._conceal:
                    raise type(error)(f"{where}: {text}") from None
                if report is not None:
                    report(f"{where} is damaged and was concealed: {text}")
                if "skip" in changes:
                    decoder.begin(changes["skip"], changes["length"])
                made = decoder.conceal()
            yield made[:left]
            left = max(left - len(made), 0)
        if self._lax:
            yield decoder.flush()[:left]

    def cut(self, start: int, stop: int, file: BinaryIO) -> int:
        """Write samples ``start`` to ``stop - 1`` as a file of their own; return its bytes.

        Raises
        ------
        BitstreamError
            If a chunk that is needed is damaged.
        """
        self._check_span(start, stop)
        writer = container.Writer(file, self._header(stop - start), LIMITS)
        for number, changes in self.pieces(start, stop):
            chunk = self.chunk(number, changes)
            writer.add(ChunkType.DATA, chunk.payload, symbols_crc=chunk.symbols_crc)
        writer.close()
        return writer.size

    def _header(self, length: int) -> container.Header:
        made = frame.header_of(replace(self.form, length=length), self.header.model, self.header.quality)
        kept = {key: value for key, value in self.header.extra.items() if key not in frame.KEYS}
        return replace(made, extra={**kept, **made.extra})


def join(parts: Sequence[tuple[str, Coded]], file: BinaryIO) -> int:
    """Write recordings one after the other as one file; return its bytes.

    Parameters
    ----------
    parts
        What messages call them, and they.

    Raises
    ------
    UsageError
        If they differ in model, rate, channels or frames of a chunk.
    BitstreamError
        If one is damaged.
    """
    (name, first), *others = parts
    for other_name, other in others:
        for what, one, two in (
            ("models", first.header.model.hex(), other.header.model.hex()),
            ("samples a second", first.form.rate, other.form.rate),
            ("channels", first.form.channels, other.form.channels),
            ("frames a chunk", first.form.frames, other.form.frames),
        ):
            if one != two:
                raise UsageError(
                    f"{name} and {other_name} differ in their {what} ({one} and {two}): only alike files are joined"
                )
    length = sum(part.samples for _, part in parts)
    writer = container.Writer(file, first._header(length), LIMITS)
    for called, part in parts:
        for number in range(len(part.entries)):
            try:
                chunk = part.chunk(number, {})
            except BitstreamError as error:
                raise type(error)(f"{called}: {error}") from None
            writer.add(ChunkType.DATA, chunk.payload, symbols_crc=chunk.symbols_crc)
    writer.close()
    return writer.size


def _margin(p: Preset, rate: int) -> int:
    """Frames that resampling depends on, on either side."""
    return 0 if rate == p.rate else _FILTER * max(1, -(-p.rate // rate))
