"""The `image` codec: pictures <-> `.sgl` files, lossy by a learned transform or lossless by prediction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from siglum.codecs import CODECS, container
from siglum.codecs.container import Chunk, ChunkType, Header
from siglum.codecs.image import frame, lossy
from siglum.codecs.image.config import ImageConfig, level_of_quality
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
from siglum.codecs.image.picture import SOURCE_FORMAT_KEY, SOURCE_FORMATS, Picture
from siglum.codecs.image.region import Region, chunk_of
from siglum.codecs.image.region import decode as decode_lossy_region
from siglum.errors import (
    ChecksumMismatch,
    UnsupportedInputError,
    UsageError,
    require_torch,
)
from siglum.kernels import dispatch
from siglum.kernels.checksum import crc32c

if TYPE_CHECKING:
    from siglum.codecs.image.weights import ImageWeights

STRIP_PIXELS = 2**20  # a lossless strip is as many whole rows as fit, at least one
FLAT_SHARE = 0.25  # with so many pixels equal to their left neighbour, lossless coding is tried too
SMALL_PIXELS = 4096  # ... and for pictures as small as this


class Prepared:
    """A picture to be encoded at several levels, for searches of a rate or a quality."""

    def __init__(self, codec: ImageCodec, picture: Picture) -> None:
        self.codec, self.picture = codec, picture
        self._latents: dict[int, np.ndarray] = {}

    @cached_property
    def exact(self) -> bytes | None:
        """The lossless file, where the settings leave the choice and the picture looks drawn; else None."""
        if self.codec.config.lossless is None and _looks_drawn(self.picture.pixels):
            return self.codec._encode_lossless(self.picture)
        return None

    def encode(self, level: int) -> bytes:
        """The lossy file at a level."""
        data, latents = self.codec._encode_lossy(self.picture, level)
        self._latents = {level: latents}
        return data

    def reconstruct(self, level: int) -> np.ndarray:
        """What the file of a level decodes to, without decoding its payload."""
        if level not in self._latents:
            self.encode(level)
        return self.codec._pixels_of(self.picture, self._latents[level], level)


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
    ) -> None:
        if level is not None and not 0 <= level <= MAX_LEVEL:
            raise UsageError(f"level is 0 to {MAX_LEVEL}, not {level}")
        if threads is not None and threads < 1:
            raise UsageError(f"threads is 1 or more, not {threads}")
        if engine not in ENGINES:
            raise UsageError(f"engine is {' or '.join(ENGINES)}, not {engine!r}")
        if engine == "torch":
            require_torch("the engine torch")
        self.config = ImageConfig(quality, level, lossless, model, threads, engine)
        self.level = level_of_quality(quality) if level is None else level
        self.threads = threads or dispatch.threads()

    def __repr__(self) -> str:
        return f"ImageCodec({', '.join(f'{k}={v!r}' for k, v in self.config.to_dict().items())})"

    def encode(self, picture: Picture | np.ndarray) -> bytes:
        """One whole `.sgl` file.

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
            return self._encode_lossless(picture)
        prepared = Prepared(self, picture)
        data = prepared.encode(self.level)
        return data if prepared.exact is None else min(prepared.exact, data, key=len)

    def prepare(self, picture: Picture) -> Prepared:
        """For encoding the same picture at several levels."""
        _check_sides(picture)
        return Prepared(self, picture)

    def decode(self, data: bytes, limits: container.Limits | None = None) -> Picture:
        """The picture of a file, with its profile and metadata.

        Raises
        ------
        BitstreamError
            If the file is damaged, truncated, of a later version or of unknown weights.
        """
        reader = container.Reader(data, limits or container.Limits())
        header = reader.header
        check_header(header)
        found: dict[int, list[Chunk]] = {}
        for chunk in reader.chunks():
            found.setdefault(chunk.type, []).append(chunk)
        frame.check_chunks(header, found)
        height, width = header.shape[:2]
        channels = header.shape[2] if len(header.shape) == 3 else 1
        if self.is_lossless(header):
            pixels = self._decode_strips(found.get(ChunkType.DATA, []), height, width, channels)
        else:
            pixels = self._decode_lossy(header, found.get(ChunkType.DATA, []))
            if channels == 1:
                pixels = _gray_of(pixels)
            elif channels == 4:
                alpha = self._decode_strips(found.get(ChunkType.ALPHA, []), height, width, 1)
                pixels = np.dstack([pixels, alpha])
        number = header.extra.get(SOURCE_FORMAT_KEY)
        return Picture(
            pixels,
            icc=frame.only(found, ChunkType.ICC),
            exif=frame.only(found, ChunkType.EXIF),
            xmp=frame.only(found, ChunkType.XMP),
            source_format=SOURCE_FORMATS.get(number) if isinstance(number, int) else None,
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
            pixels = self._decode_rows(reader, ChunkType.DATA, part, height, width, channels)
        else:
            weights = self._weights(header.model)
            pixels = decode_lossy_region(reader, header, part, weights, self.threads, self.config.engine)
            if channels == 1:
                pixels = _gray_of(pixels)
            elif channels == 4:
                pixels = np.dstack(
                    [pixels, self._decode_rows(reader, ChunkType.ALPHA, part, height, width, 1)]
                )
        profile = reader.find(ChunkType.ICC)
        number = header.extra.get(SOURCE_FORMAT_KEY)
        return Picture(
            pixels,
            icc=None if profile is None else reader.read(profile).payload,
            source_format=SOURCE_FORMATS.get(number) if isinstance(number, int) else None,
        )

    def _decode_rows(
        self, reader: container.Reader, kind: ChunkType, part: Region, height: int, width: int, channels: int
    ) -> np.ndarray:
        rows = strips(height, width)
        wanted = [i for i, strip in enumerate(rows) if strip.start < part.rows.stop and part.y < strip.stop]
        pixels = self._decode_some(
            [rows[i] for i in wanted], [chunk_of(reader, kind, i) for i in wanted], width, channels
        )
        top = rows[wanted[0]].start
        return np.ascontiguousarray(pixels[part.y - top : part.rows.stop - top, part.columns])

    def decode_array(self, data: bytes, limits: container.Limits | None = None) -> np.ndarray:
        """The pixels of a file: (H, W), (H, W, 3) or (H, W, 4) uint8."""
        return self.decode(data, limits).pixels

    def _weights(self, model_id: bytes | None = None) -> ImageWeights:
        from siglum.codecs.image.weights import load_by_id, load_by_name

        return load_by_name(self.config.model) if model_id is None else load_by_id(model_id)

    def _encode_lossy(self, picture: Picture, level: int) -> tuple[bytes, np.ndarray]:
        weights = self._weights()
        pixels = picture.pixels
        coded, latents = lossy.encode(weights, _rgb_of(pixels), level, self.threads, self.config.engine)
        chunks = [Chunk(ChunkType.DATA, i, tile.payload, tile.symbols_crc) for i, tile in enumerate(coded)]
        if picture.channels == 4:
            chunks += self._strips(pixels[..., 3:], ChunkType.ALPHA)
        header = Header(
            CODEC_ID, CODEC_VERSION, weights.id, pixels.shape, "uint8", level, frame.source_key(picture)
        )
        return frame.write_file(header, [*frame.metadata_chunks(picture), *chunks]), latents

    def _encode_lossless(self, picture: Picture) -> bytes:
        pixels = picture.pixels if picture.pixels.ndim == 3 else picture.pixels[..., None]
        extra = {MODE_KEY: LOSSLESS, **frame.source_key(picture)}
        header = Header(CODEC_ID, CODEC_VERSION, b"", picture.pixels.shape, "uint8", None, extra)
        return frame.write_file(
            header, [*frame.metadata_chunks(picture), *self._strips(pixels, ChunkType.DATA)]
        )

    def _strips(self, pixels: np.ndarray, kind: ChunkType) -> list[Chunk]:
        from siglum.codecs.image import lossless

        def encode(strip: slice) -> bytes:
            return lossless.encode_strip(np.ascontiguousarray(pixels[strip]))

        rows = strips(*pixels.shape[:2])
        payloads = self._map(encode, rows)
        return [
            Chunk(kind, i, payload, crc32c(np.ascontiguousarray(pixels[strip]).data.cast("B")))
            for i, (strip, payload) in enumerate(zip(rows, payloads, strict=True))
        ]

    def _decode_strips(self, chunks: list[Chunk], height: int, width: int, channels: int) -> np.ndarray:
        rows = strips(height, width)
        frame.expect(chunks, len(rows))
        return self._decode_some(rows, chunks, width, channels)

    def _decode_some(self, rows: list[slice], chunks: list[Chunk], width: int, channels: int) -> np.ndarray:
        from siglum.codecs.image import lossless

        def decode(item: tuple[slice, Chunk]) -> np.ndarray:
            strip, chunk = item
            part = lossless.decode_strip(chunk.payload, strip.stop - strip.start, width, channels)
            if crc32c(np.ascontiguousarray(part).data.cast("B")) != chunk.symbols_crc:
                raise ChecksumMismatch(
                    f"strip {chunk.sequence} does not decode to the checksum that the file gives"
                )
            return part

        parts = self._map(decode, list(zip(rows, chunks, strict=True)))
        pixels = np.concatenate(parts)
        return pixels[..., 0] if channels == 1 else pixels

    def _map(self, function: Callable[[Any], Any], items: list[Any]) -> list[Any]:
        if self.threads == 1 or len(items) == 1:
            return [function(item) for item in items]
        with ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(function, items))

    def _decode_lossy(self, header: Header, chunks: list[Chunk]) -> np.ndarray:
        height, width = header.shape[:2]
        level = header.quality
        assert level is not None
        frame.expect(chunks, len(lossy.tiles(height, width)))
        weights = self._weights(header.model)
        latents = lossy.decode_latents(weights, _tiles_of(chunks), height, width, level, self.threads)
        return lossy.synthesise(weights, latents, level, height, width, self.threads, self.config.engine)

    def _pixels_of(self, picture: Picture, latents: np.ndarray, level: int) -> np.ndarray:
        height, width = picture.pixels.shape[:2]
        weights, engine = self._weights(), self.config.engine
        pixels = lossy.synthesise(weights, latents, level, height, width, self.threads, engine)
        if picture.channels == 1:
            return _gray_of(pixels)
        return pixels if picture.channels == 3 else np.dstack([pixels, picture.pixels[..., 3]])


def strips(height: int, width: int) -> list[slice]:
    """Rows of each lossless strip."""
    rows = max(1, STRIP_PIXELS // width)
    return [slice(top, min(top + rows, height)) for top in range(0, height, rows)]


def _looks_drawn(pixels: np.ndarray) -> bool:
    if pixels.shape[0] * pixels.shape[1] <= SMALL_PIXELS or pixels.shape[1] == 1:
        return True
    planes = np.atleast_3d(pixels).transpose(2, 0, 1)
    same = np.logical_and.reduce([plane[:, 1:] == plane[:, :-1] for plane in planes])
    return float(np.mean(same)) >= FLAT_SHARE


def _check_sides(picture: Picture) -> None:
    if max(picture.width, picture.height) > MAX_SIDE:
        raise UnsupportedInputError(
            f"a side of {max(picture.width, picture.height)} pixels is beyond the {MAX_SIDE} that this codec takes"
        )


def _rgb_of(pixels: np.ndarray) -> np.ndarray:
    if pixels.ndim == 2:
        return np.repeat(pixels[..., None], 3, axis=2)
    return pixels[..., :3]


def _gray_of(pixels: np.ndarray) -> np.ndarray:
    """Mean of three channels, rounded: (H, W, 3) -> (H, W) uint8."""
    total = pixels.sum(axis=2, dtype=np.uint16)
    return ((total + 1) // 3).astype(np.uint8)


def _tiles_of(chunks: list[Chunk]) -> Iterator[lossy.Tile]:
    for chunk in chunks:
        assert chunk.symbols_crc is not None
        yield lossy.Tile(chunk.payload, chunk.symbols_crc)


__all__ = ["CODEC_ID", "ImageCodec", "ImageConfig", "Prepared", "check_header", "level_of_quality"]
