"""The `image` codec: pictures <-> `.sgl` files, lossy by a learned transform or lossless by prediction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from siglum.codecs import CODECS, container
from siglum.codecs.container import Chunk, ChunkType, Header
from siglum.codecs.image import batch, frame, lossy, strips
from siglum.codecs.image import effort as search
from siglum.codecs.image.config import TUNES, ImageConfig, level_of_quality
from siglum.codecs.image.engine import ENGINES, EngineName
from siglum.codecs.image.frame import (
    CODEC_ID,
    CODEC_VERSION,
    LOSSLESS,
    MAX_LEVEL,
    MAX_SIDE,
    MODE_KEY,
    check_header,
)
from siglum.codecs.image.picture import Picture, gray_of
from siglum.codecs.image.prepared import Prepared
from siglum.codecs.image.region import Region
from siglum.codecs.image.region import decode as decode_lossy_region
from siglum.codecs.image.scale import check_factor, check_region, means
from siglum.codecs.image.scaled import decode as decode_scaled
from siglum.errors import UnsupportedInputError, UsageError, require_torch
from siglum.kernels import dispatch

if TYPE_CHECKING:
    from siglum.codecs.image.weights import ImageWeights


@CODECS.register("image")
class ImageCodec:
    """Pictures: uint8 gray (H, W), RGB (H, W, 3), RGBA (H, W, 4; alpha is always lossless).

    Parameters are those of `ImageConfig`.

    Raises
    ------
    UsageError
        If a setting is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from siglum.codecs.image.codec import ImageCodec
    >>> picture = np.zeros((48, 64, 3), np.uint8)
    >>> data = ImageCodec(lossless=True).encode(picture)
    >>> bool((ImageCodec().decode_array(data) == picture).all())
    True
    """

    id = CODEC_ID
    version = CODEC_VERSION

    @staticmethod
    def is_lossless(header: Header) -> bool:
        """Whether a file decodes to exactly what was encoded."""
        return frame.is_lossless(header)

    @staticmethod
    def check_weights(tensors: Mapping[str, np.ndarray], identifier: bytes) -> None:
        """Raise `UnknownModel` if tensors are no model of this codec."""
        from siglum.codecs.image.weights import make

        make(tensors, identifier)

    def __init__(
        self,
        quality: float = 60.0,
        level: int | None = None,
        lossless: bool | None = None,
        model: str = "small",
        threads: int | None = None,
        engine: EngineName = "native",
        effort: int = search.USUAL,
        tune: str = TUNES[0],
    ) -> None:
        if level is not None and not 0 <= level <= MAX_LEVEL:
            raise UsageError(f"level is 0 to {MAX_LEVEL}, not {level}")
        if threads is not None and threads < 1:
            raise UsageError(f"threads is 1 or more, not {threads}")
        if engine not in ENGINES:
            raise UsageError(f"engine is {' or '.join(ENGINES)}, not {engine!r}")
        if engine == "torch":
            require_torch("the engine torch")
        if tune not in TUNES:
            raise UsageError(f"tune is {' or '.join(TUNES)}, not {tune!r}")
        search.check(effort)
        self.config = ImageConfig(quality, level, lossless, model, threads, engine, effort, tune)
        self.level = level_of_quality(quality) if level is None else level
        self.threads = threads or dispatch.threads()

    def __repr__(self) -> str:
        return f"ImageCodec({', '.join(f'{k}={v!r}' for k, v in self.config.to_dict().items())})"

    def encode(self, picture: Picture | np.ndarray, *, analysed: np.ndarray | None = None) -> bytes:
        """One whole `.sgl` file.

        Parameters
        ----------
        picture
            An array, or a picture with its metadata.
        analysed
            The latents of a lossy file, (rows, columns, latent) float32 in steps, where they are known; they are
            changed.

        Raises
        ------
        UsageError
            If the array is not a uint8 picture.
        UnknownModel
            If the weights named in the settings are not installed.
        """
        picture = picture if isinstance(picture, Picture) else Picture(np.asarray(picture))
        _check_sides(picture)
        if self.config.lossless:
            return self.encode_lossless(picture)
        prepared = Prepared(self, picture)
        data = prepared.encode(self.level, analysed)
        return data if prepared.exact is None else min(prepared.exact, data, key=len)

    def prepare(self, picture: Picture) -> Prepared:
        """For encoding the same picture at several levels."""
        _check_sides(picture)
        return Prepared(self, picture)

    def encode_batch(self, pictures: Sequence[Picture | np.ndarray]) -> list[bytes]:
        """The files of many pictures, in their order, each as `encode` makes it.

        They are shared out among the threads; with the engine "torch", those of a size go through the networks
        together (and there a latent at the edge between two symbols may be rounded to the other one).
        """
        return batch.encode(self, pictures)

    def decode_batch(
        self, files: Sequence[bytes], limits: container.Limits | None = None
    ) -> list[np.ndarray]:
        """The pixels of many files, in their order; as `encode_batch`.

        Raises
        ------
        BitstreamError
            If a file is damaged, as `decode`.
        """
        return batch.decode(self, files, limits)

    def decode(
        self,
        data: bytes,
        limits: container.Limits | None = None,
        *,
        shown: np.ndarray | None = None,
    ) -> Picture:
        """The picture of a file, with its profile and metadata.

        Parameters
        ----------
        data
            The whole file.
        limits
            What it may announce.
        shown
            The colours of a lossy file, (H, W, 3) uint8, where they are known.

        Raises
        ------
        BitstreamError
            If the file is damaged, truncated, of a later version or of unknown weights.
        """
        header, found = self.read(data, limits)
        height, width = header.shape[:2]
        channels = header.shape[2] if len(header.shape) == 3 else 1
        if self.is_lossless(header):
            pixels = strips.decode(found.get(ChunkType.DATA, []), height, width, channels, self.threads)
        else:
            pixels = self._decode_lossy(header, found.get(ChunkType.DATA, [])) if shown is None else shown
            if channels == 1:
                pixels = gray_of(pixels)
            elif channels == 4:
                alpha = strips.decode(found.get(ChunkType.ALPHA, []), height, width, 1, self.threads)
                pixels = np.dstack([pixels, alpha])
        return Picture(
            pixels,
            icc=frame.only(found, ChunkType.ICC),
            exif=frame.only(found, ChunkType.EXIF),
            xmp=frame.only(found, ChunkType.XMP),
            source_format=frame.source_format(header),
        )

    def decode_region(
        self,
        source: bytes | BinaryIO,
        region: tuple[int, int, int, int],
        limits: container.Limits | None = None,
    ) -> Picture:
        """A part of a picture, for which only the tiles that hold it are read.

        Parameters
        ----------
        source
            A file's bytes, or a binary file that can seek.
        region
            x, y, width and height in pixels, within the picture.

        Raises
        ------
        UsageError
            If the region is empty or not within the picture.
        BitstreamError
            As `decode`; what is not read is not checked.
        """
        reader = container.Reader(source, limits or container.Limits())
        header = reader.header
        check_header(header)
        height, width = header.shape[:2]
        channels = header.shape[2] if len(header.shape) == 3 else 1
        part = Region(*region).check(width, height)
        if self.is_lossless(header):
            pixels = strips.read(reader, ChunkType.DATA, part, channels, self.threads)
        else:
            weights = self.weights(header.model)
            pixels = decode_lossy_region(reader, header, part, weights, self.threads, self.config.engine)
            if channels == 1:
                pixels = gray_of(pixels)
            elif channels == 4:
                alpha = strips.read(reader, ChunkType.ALPHA, part, 1, self.threads)
                pixels = np.dstack([pixels, alpha])
        return self._picture_of_part(reader, pixels)

    @staticmethod
    def _picture_of_part(reader: container.Reader, pixels: np.ndarray) -> Picture:
        profile = reader.find(ChunkType.ICC)
        return Picture(
            pixels,
            icc=None if profile is None else reader.read(profile).payload,
            source_format=frame.source_format(reader.header),
        )

    def decode_scaled(
        self,
        source: bytes | BinaryIO,
        factor: int,
        region: tuple[int, int, int, int] | None = None,
        limits: container.Limits | None = None,
    ) -> Picture:
        """A picture at 1/2, 1/4 or 1/8: about the means of its pixels, for less time and memory than all of it.

        Parameters
        ----------
        source
            A file's bytes, or a binary file that can seek.
        factor
            2, 4 or 8. Sides are rounded up.
        region
            x, y, width and height of a part, in pixels of the whole picture; x and y are multiples of the factor.

        Raises
        ------
        UsageError
            If the factor is another, or the region is not within the picture.
        BitstreamError
            As `decode`; what is not read is not checked.
        """
        check_factor(factor)
        reader = container.Reader(source, limits or container.Limits())
        header = reader.header
        check_header(header)
        height, width = header.shape[:2]
        channels = header.shape[2] if len(header.shape) == 3 else 1
        part = check_region(Region(*(region or (0, 0, width, height))).check(width, height), factor)
        if self.is_lossless(header):
            pixels = means(strips.each(reader, ChunkType.DATA, part, channels, self.threads), factor)
        else:
            weights = self.weights(header.model)
            pixels = decode_scaled(reader, header, part, factor, weights, self.threads, self.config.engine)
            if channels == 1:
                pixels = gray_of(pixels)
            elif channels == 4:
                alpha = means(strips.each(reader, ChunkType.ALPHA, part, 1, self.threads), factor)
                pixels = np.dstack([pixels, alpha])
        return self._picture_of_part(reader, pixels)

    def decode_array(self, data: bytes, limits: container.Limits | None = None) -> np.ndarray:
        """The pixels of a file: (H, W), (H, W, 3) or (H, W, 4) uint8."""
        return self.decode(data, limits).pixels

    def weights(self, model_id: bytes | None = None) -> ImageWeights:
        """The weights that a file names; None: those that encode."""
        from siglum.codecs.image.weights import load_by_id, load_by_name

        if model_id is not None:
            return load_by_id(model_id)
        model, tune = self.config.model, self.config.tune
        return load_by_name(model if tune == TUNES[0] else f"{model}-{tune}")

    def encode_lossy(
        self, picture: Picture, level: int, analysed: np.ndarray | None = None
    ) -> tuple[bytes, np.ndarray]:
        """The lossy file at a level, and its latents in steps as a decoder has them."""
        weights = self.weights()
        pixels = picture.pixels
        config = self.config
        coded, latents = search.encode(
            weights, _rgb_of(pixels), level, config.effort, self.threads, config.engine, analysed
        )
        chunks = [Chunk(ChunkType.DATA, i, tile.payload, tile.symbols_crc) for i, tile in enumerate(coded)]
        if picture.channels == 4:
            chunks += strips.encode(pixels[..., 3:], ChunkType.ALPHA, self.threads)
        header = Header(
            CODEC_ID, CODEC_VERSION, weights.id, pixels.shape, "uint8", level, frame.source_key(picture)
        )
        return frame.write_file(header, [*frame.metadata_chunks(picture), *chunks]), latents

    def encode_lossless(self, picture: Picture) -> bytes:
        """The lossless file."""
        pixels = picture.pixels if picture.pixels.ndim == 3 else picture.pixels[..., None]
        extra = {MODE_KEY: LOSSLESS, **frame.source_key(picture)}
        header = Header(CODEC_ID, CODEC_VERSION, b"", picture.pixels.shape, "uint8", None, extra)
        return frame.write_file(
            header, [*frame.metadata_chunks(picture), *strips.encode(pixels, ChunkType.DATA, self.threads)]
        )

    @staticmethod
    def read(data: bytes, limits: container.Limits | None) -> tuple[Header, dict[int, list[Chunk]]]:
        """A file's header, and its chunks by their types."""
        reader = container.Reader(data, limits or container.Limits())
        check_header(reader.header)
        found: dict[int, list[Chunk]] = {}
        for chunk in reader.chunks():
            found.setdefault(chunk.type, []).append(chunk)
        frame.check_chunks(reader.header, found)
        return reader.header, found

    def latents(self, header: Header, chunks: list[Chunk]) -> np.ndarray:
        """(rows, columns, latent) float32 in steps, of a lossy file's chunks of data."""
        height, width = header.shape[:2]
        assert header.quality is not None
        frame.expect(chunks, len(lossy.tiles(height, width)))
        weights = self.weights(header.model)
        return lossy.decode_latents(weights, _tiles_of(chunks), height, width, header.quality, self.threads)

    def _decode_lossy(self, header: Header, chunks: list[Chunk]) -> np.ndarray:
        latents = self.latents(header, chunks)
        weights, level, (height, width) = self.weights(header.model), header.quality, header.shape[:2]
        assert level is not None
        return lossy.synthesise(weights, latents, level, height, width, self.threads, self.config.engine)

    def pixels_of(self, picture: Picture, latents: np.ndarray, level: int) -> np.ndarray:
        """What the latents in steps of a picture decode to."""
        height, width = picture.pixels.shape[:2]
        weights, engine = self.weights(), self.config.engine
        pixels = lossy.synthesise(weights, latents, level, height, width, self.threads, engine)
        if picture.channels == 1:
            return gray_of(pixels)
        return pixels if picture.channels == 3 else np.dstack([pixels, picture.pixels[..., 3]])


def _check_sides(picture: Picture) -> None:
    if max(picture.width, picture.height) > MAX_SIDE:
        raise UnsupportedInputError(
            f"a side of {max(picture.width, picture.height)} pixels is beyond the {MAX_SIDE} that this codec takes"
        )


def _rgb_of(pixels: np.ndarray) -> np.ndarray:
    if pixels.ndim == 2:
        return np.repeat(pixels[..., None], 3, axis=2)
    return pixels[..., :3]


def _tiles_of(chunks: list[Chunk]) -> Iterator[lossy.Tile]:
    for chunk in chunks:
        assert chunk.symbols_crc is not None
        yield lossy.Tile(chunk.payload, chunk.symbols_crc)


__all__ = ["CODEC_ID", "ImageCodec", "ImageConfig", "Prepared", "check_header", "level_of_quality"]
