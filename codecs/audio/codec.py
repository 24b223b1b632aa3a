"""The `audio` codec: recordings <-> `.sgl` files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siglum.codecs import CODECS
from siglum.codecs.audio import weights as stored
from siglum.codecs.audio.decoder import StreamDecoder
from siglum.codecs.audio.encoder import DEFAULT_QUALITY, StreamEncoder
from siglum.codecs.audio.frame import CODEC_ID, CODEC_VERSION, LIMITS, form_of, unpack
from siglum.codecs.audio.recording import Recording, as_samples
from siglum.codecs.container import Chunk, ChunkType, Header, Limits
from siglum.errors import UsageError
from siglum.kernels import dispatch

SPEECH, FULLBAND = "speech", "fullband"
FULLBAND_RATE = 22050  # samples a second from which a recording has what the speech model leaves out
FULLBAND_LEAST = 8000.0  # bits a second from which the whole band is coded
BEAMS = (1, 1, 1, 4, 4, 8, 16, 32, 64)  # partial solutions at effort 1 to 9
PRICES = (0.0, 0.0, 0.015) + (0.0,) * 6  # of bits in a search without a beam
_PIECE = 2**17  # samples that are pushed at once
_READ = 2**12  # bytes of a file at a time: some seconds


@dataclass(frozen=True)
class AudioConfig:
    """Settings of the audio codec.

    Attributes
    ----------
    quality
        0 (smallest) to 100, of all parts of a recording alike. None: 70, unless there is a bit rate.
    bitrate
        Bits a second that the file has at most; instead of a quality.
    model
        Name of the model; None: see `model_for`.
    effort
        1 to 9: at 3 codes are chosen by what they cost, too; from 4 on by a search that keeps several partial
        solutions.
    frames
        Frames of a chunk, from 16; None: about 1.5 kB, 2 to 8 seconds.
    threads
        None: as many as there are CPUs.
    rate
        Samples a second of arrays, which do not say it themselves.
    """

    quality: float | None = None
    bitrate: float | None = None
    model: str | None = None
    effort: int = 5
    frames: int | None = None
    threads: int | None = None
    rate: int = 16000

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def model_for(rate: int, bitrate: float | None) -> str:
    """The model for a recording: "fullband" for high rates, unless too few bits are to be spent; else "speech"."""
    enough = bitrate is None or bitrate >= FULLBAND_LEAST
    return FULLBAND if rate >= FULLBAND_RATE and enough else SPEECH


@CODECS.register("audio")
class AudioCodec:
    """Recordings of 1 to 8 channels at any rate from 4 kHz. Parameters are those of `AudioConfig`.

    Raises
    ------
    UsageError
        If a setting is out of range.
    UnknownModel
        If there is no such model.

    Examples
    --------
    >>> import numpy as np
    >>> tone = 0.1 * np.sin(np.arange(16000) * 0.1)
    >>> codec = AudioCodec(bitrate=3000)
    >>> data = codec.encode_audio(tone, 16000)
    >>> codec.decode_audio(data).samples.shape
    (16000, 1)
    >>> len(data) * 8 <= 3000
    True
    """

    id = CODEC_ID
    version = CODEC_VERSION

    def __init__(
        self,
        quality: float | None = None,
        bitrate: float | None = None,
        model: str | None = None,
        effort: int = 5,
        frames: int | None = None,
        threads: int | None = None,
        rate: int = 16000,
    ) -> None:
        if quality is not None and bitrate is not None:
            raise UsageError("quality and bit rate are two ways to say the same: give one")
        if quality is not None and not 0 <= quality <= 100:
            raise UsageError(f"quality is 0 to 100, not {quality}")
        if bitrate is not None and not 100 <= bitrate <= 1e6:
            raise UsageError(f"the bit rate is 100 to 1,000,000 bits a second, not {bitrate}")
        if not 1 <= effort <= len(BEAMS):
            raise UsageError(f"effort is 1 to {len(BEAMS)}, not {effort}")
        self.config = AudioConfig(quality, bitrate, model, effort, frames, threads, rate)
        self.threads = dispatch.threads(threads)

    def __repr__(self) -> str:
        return f"AudioCodec({', '.join(f'{k}={v!r}' for k, v in self.config.to_dict().items())})"

    @staticmethod
    def is_lossless(header: Header) -> bool:
        """Whether a file decodes to exactly what was encoded: never."""
        return False

    @staticmethod
    def check_weights(tensors: Any, identifier: bytes) -> None:
        """Raise `UnknownModel` unless tensors are a model of this codec."""
        stored.make(tensors, identifier)

    def stream(
        self, rate: int, channels: int, *, length: int | None = None, depth: int | None = None
    ) -> StreamEncoder:
        """An encoder to which samples are pushed as they come; see `StreamEncoder`."""
        config = self.config
        return StreamEncoder(
            rate,
            channels,
            stored.load_by_name(config.model or model_for(rate, config.bitrate)),
            bitrate=config.bitrate,
            quality=DEFAULT_QUALITY if config.quality is None else config.quality,
            beam=BEAMS[config.effort - 1],
            price=PRICES[config.effort - 1],
            frames=config.frames,
            length=length,
            depth=depth,
            threads=self.threads,
        )

    def encode_audio(self, samples: ArrayLike, rate: int, depth: int | None = None) -> bytes:
        """One whole `.sgl` file of samples (N,) or (N, C), floats or signed integers of full scale.

        Raises
        ------
        UnsupportedInputError
            If the rate, the channels or the samples are none that are coded.
        """
        values = as_samples(samples)
        encoder = self.stream(rate, values.shape[1], length=len(values), depth=depth)
        parts = [encoder.push(values[at : at + _PIECE]) for at in range(0, len(values), _PIECE)]
        return b"".join([*parts, encoder.finish()])

    def encode(self, recording: Recording | ArrayLike) -> bytes:
        """One whole `.sgl` file of a recording, or of samples at the codec's rate."""
        if isinstance(recording, Recording):
            return self.encode_audio(recording.samples, recording.rate)
        return self.encode_audio(recording, self.config.rate)

    def write(
        self,
        blocks: Iterable[ArrayLike],
        file: BinaryIO,
        rate: int,
        channels: int,
        *,
        length: int | None = None,
        depth: int | None = None,
    ) -> int:
        """Write blocks of samples as they come, in memory that does not grow; return the file's bytes."""
        encoder, size = self.stream(rate, channels, length=length, depth=depth), 0
        for block in blocks:
            size += file.write(encoder.push(block))
        return size + file.write(encoder.finish())

    def decode_audio(self, data: bytes, limits: Limits | None = None, **options: Any) -> Recording:
        """The recording of a file; options are `partial`, `conceal` and `report` of `StreamDecoder`.

        Raises
        ------
        BitstreamError
            If the file is damaged, cut off, of a later version, or needs a model that is not installed.
        """
        decoder = StreamDecoder(limits=limits, threads=self.threads, **options)
        parts = [decoder.push(data[at : at + _READ]) for at in range(0, len(data), _READ)]
        rest = decoder.finish()
        assert decoder.form is not None
        whole = [part for part in parts if part.shape[1] == decoder.form.channels]
        return Recording(np.concatenate([*whole, rest]), decoder.form.rate)

    def decode(self, data: bytes, limits: Limits | None = None) -> Recording:
        """The recording of a file."""
        return self.decode_audio(data, limits)

    def decode_array(self, data: bytes, limits: Limits | None = None) -> NDArray[np.float32]:
        """Its samples (N, C)."""
        return self.decode_audio(data, limits).samples

    def read(
        self,
        file: BinaryIO,
        *,
        partial: bool = False,
        conceal: bool = False,
        report: Callable[[str], None] | None = None,
        limits: Limits | None = None,
    ) -> Iterator[Recording]:
        """Pieces of a recording as they are decoded, in memory that does not grow; the first may be empty.

        Raises
        ------
        BitstreamError
            As `decode_audio`, when the damaged part is reached.
        """
        decoder = StreamDecoder(
            partial=partial, conceal=conceal, report=report, limits=limits, threads=self.threads
        )
        begun = False
        while data := file.read(_READ):
            samples = decoder.push(data)
            if decoder.form is not None and (len(samples) or not begun):
                begun = True
                yield Recording(samples, decoder.form.rate)
        rest = decoder.finish()
        assert decoder.form is not None
        yield Recording(rest, decoder.form.rate)

    @staticmethod
    def positions(header: Header, chunks: list[Chunk]) -> int:
        """Samples that chunks hold, for the bits of each."""
        form, total = form_of(header), 0
        for chunk in chunks:
            if chunk.type == ChunkType.DATA:
                head, _ = unpack(chunk.payload, form.channels, form.frames)
                total += (0 if head.frames is None else head.length or 0) - (head.skip or 0)
        return total * form.channels


__all__ = ["CODEC_ID", "LIMITS", "AudioCodec", "AudioConfig"]
