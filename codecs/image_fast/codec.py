"""The `image-fast` codec: pictures <-> `.sgl` files, encoded by one linear pass at hundreds of megapixels a second."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from siglum.codecs import CODECS, container
from siglum.codecs.container import Chunk, ChunkType, Header
from siglum.codecs.image import frame, strips
from siglum.codecs.image.config import level_of_quality
from siglum.codecs.image.picture import Picture, gray_of
from siglum.codecs.image.region import Region, chunk_of
from siglum.codecs.image.windows import synthesis_halo
from siglum.codecs.image_fast import tiles
from siglum.codecs.image_fast.coder import Level
from siglum.codecs.image_fast.config import FastConfig
from siglum.codecs.image_fast.constants import GROUPS, LEVELS, PATCH
from siglum.errors import UnsupportedInputError, UsageError
from siglum.kernels import dispatch

if TYPE_CHECKING:
    from siglum.codecs.image_fast.weights import FastWeights

CODEC_ID = 3
CODEC_VERSION = 0
MAX_LEVEL = LEVELS - 1
MAX_SIDE = 2**18
PREFIXES = tuple(accumulate(GROUPS))


class Prepared:
    """A picture to be encoded at several levels, for searches of a rate or a quality."""

    exact: bytes | None = None  # there is no lossless file to choose instead

    def __init__(self, codec: ImageFastCodec, picture: Picture) -> None:
        self.codec, self.picture = codec, picture

    def encode(self, level: int) -> bytes:
        """The file at a level."""
        return self.codec._encode(self.picture, level)

    def reconstruct(self, level: int) -> np.ndarray:
        """What the file of a level decodes to."""
        return self.codec.decode(self.encode(level)).pixels


@CODECS.register("image-fast")
class ImageFastCodec:
    """Pictures: uint8 gray (H, W), RGB (H, W, 3), RGBA (H, W, 4; alpha is always lossless).

    Parameters are those of `FastConfig`.

    Raises
    ------
    UsageError
        If a setting is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from siglum.codecs.image_fast.codec import ImageFastCodec
    >>> picture = np.full((48, 64, 3), 100, np.uint8)
    >>> data = ImageFastCodec(quality=80).encode(picture)
    >>> bool((abs(ImageFastCodec().decode_array(data).astype(int) - picture) < 8).all())
    True
    """

    id = CODEC_ID
    version = CODEC_VERSION

    @staticmethod
    def is_lossless(header: Header) -> bool:
        """Never."""
        return False

    @staticmethod
    def check_weights(tensors: Mapping[str, np.ndarray], identifier: bytes) -> None:
        """Raise `UnknownModel` if tensors are no model of this codec."""
        from siglum.codecs.image_fast.weights import make

        make(tensors, identifier)

    def __init__(
        self,
        quality: float = 60.0,
        level: int | None = None,
        channels: int | None = None,
        lossless: bool | None = None,
        model: str = "small",
        threads: int | None = None,
        engine: str = "native",
    ) -> None:
        if level is not None and not 0 <= level <= MAX_LEVEL:
            raise UsageError(f"level is 0 to {MAX_LEVEL}, not {level}")
        if channels is not None and channels not in PREFIXES:
            raise UsageError(f"channels is one of {', '.join(map(str, PREFIXES))}, not {channels}")
        if lossless:
            raise UsageError("image-fast is lossy; the codec image codes without loss")
        if threads is not None and threads < 1:
            raise UsageError(f"threads is 1 or more, not {threads}")
        if engine != "native":
            raise UsageError(f"image-fast runs in compiled code only: engine is 'native', not {engine!r}")
        self.config = FastConfig(quality, level, channels, lossless, model, threads, engine)
        self.level = level_of_quality(quality) if level is None else level
        self.threads = threads or dispatch.threads()

    def __repr__(self) -> str:
        return f"ImageFastCodec({', '.join(f'{k}={v!r}' for k, v in self.config.to_dict().items())})"

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
        return self._encode(picture, self.level)

    def prepare(self, picture: Picture) -> Prepared:
        """For encoding the same picture at several levels."""
        return Prepared(self, picture)

    def _encode(self, picture: Picture, number: int) -> bytes:
        if max(picture.width, picture.height) > MAX_SIDE:
            raise UnsupportedInputError(
                f"a side of {max(picture.width, picture.height)} pixels is beyond {MAX_SIDE}"
            )
        weights = self._weights()
        level, pixels = weights.level(number), picture.pixels
        if self.config.channels is not None:
            groups = PREFIXES.index(self.config.channels) + 1
            level = Level(level.scales, level.biases, level.thresholds, groups)
        places = tiles.tiles(*pixels.shape[:2])
        coded = weights.coder.encode(_rgb_of(pixels), level, places, self.threads)
        chunks = [Chunk(ChunkType.DATA, i, payload, crc) for i, (payload, crc) in enumerate(coded)]
        if picture.channels == 4:
            chunks += strips.encode(pixels[..., 3:], ChunkType.ALPHA, self.threads)
        header = Header(
            CODEC_ID, CODEC_VERSION, weights.id, pixels.shape, "uint8", number, frame.source_key(picture)
        )
        return frame.write_file(header, [*frame.metadata_chunks(picture), *chunks])

    def decode(self, data: bytes, limits: container.Limits | None = None) -> Picture:
        """The picture of a file, with its profile and metadata.

        Raises
        ------
        BitstreamError
            If the file is damaged, truncated, of a later version or of unknown weights.
        """
        reader = container.Reader(data, limits or container.Limits())
        header = reader.header
        level = _check_header(header)
        found: dict[int, list[Chunk]] = {}
        for chunk in reader.chunks():
            found.setdefault(chunk.type, []).append(chunk)
        frame.check_chunks(header, found)
        height, width = header.shape[:2]
        chunks, places = found.get(ChunkType.DATA, []), tiles.tiles(height, width)
        frame.expect(chunks, len(places))
        weights = self._weights(header.model)
        y = tiles.decode(weights, chunks, places, level, self.threads)
        pixels = _as_shaped(tiles.synthesise(weights, y, level, height, width, self.threads), header)
        if header.shape[2:] == (4,):
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
        """A part of a picture, for which only the tiles that hold it or its neighbourhood are read.

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
        level = _check_header(header)
        height, width = header.shape[:2]
        part = Region(*region).check(width, height)
        weights = self._weights(header.model)
        halo = synthesis_halo(weights.preset)
        first_row, last_row = part.rows.start // PATCH - halo, -(-part.rows.stop // PATCH) + halo
        first_column, last_column = part.columns.start // PATCH - halo, -(-part.columns.stop // PATCH) + halo
        numbers, places = [], []
        for number, (rows, columns) in enumerate(tiles.tiles(height, width)):
            beside = rows.start >= last_row or rows.stop <= first_row
            if not beside and columns.start < last_column and columns.stop > first_column:
                numbers.append(number)
                places.append((rows, columns))
        chunks = [chunk_of(reader, ChunkType.DATA, number) for number in numbers]
        frame.expect(chunks, len(places))
        y = tiles.decode(weights, chunks, places, level, self.threads)
        row, column = places[0][0].start, places[0][1].start
        y = y[max(first_row - row, 0) : last_row - row, max(first_column - column, 0) : last_column - column]
        top, left = max(first_row, row) * PATCH, max(first_column, column) * PATCH
        rest = min(height - top, y.shape[0] * PATCH), min(width - left, y.shape[1] * PATCH)
        whole = tiles.synthesise(weights, y, level, *rest, self.threads)
        cut = whole[
            part.rows.start - top : part.rows.stop - top, part.columns.start - left : part.columns.stop - left
        ]
        pixels = _as_shaped(np.ascontiguousarray(cut), header)
        if header.shape[2:] == (4,):
            alpha = strips.read(reader, ChunkType.ALPHA, part, 1, self.threads)
            pixels = np.dstack([pixels, alpha])
        profile = reader.find(ChunkType.ICC)
        icc = None if profile is None else reader.read(profile).payload
        return Picture(pixels, icc=icc, source_format=frame.source_format(header))

    def decode_array(self, data: bytes, limits: container.Limits | None = None) -> np.ndarray:
        """The pixels of a file: (H, W), (H, W, 3) or (H, W, 4) uint8."""
        return self.decode(data, limits).pixels

    def _weights(self, model_id: bytes | None = None) -> FastWeights:
        from siglum.codecs.image_fast.weights import load_by_id, load_by_name

        return load_by_name(self.config.model) if model_id is None else load_by_id(model_id)


def _check_header(header: Header) -> int:
    """The level of a header that this codec can decode."""
    header.check_codec({CODEC_ID: CODEC_VERSION})
    header.check_keys(())
    frame.check_shape(header)
    return frame.level_of(header)


def _rgb_of(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 with whole rows; an RGB picture is not copied."""
    if pixels.ndim == 2:
        return np.repeat(pixels[..., None], 3, axis=2)
    if pixels.shape[2] == 3 and pixels.strides[1:] == (3, 1):
        return pixels
    return np.ascontiguousarray(pixels[..., :3])


def _as_shaped(pixels: np.ndarray, header: Header) -> np.ndarray:
    """Gray where the header says so: the mean of the three channels, rounded."""
    if len(header.shape) == 3:
        return pixels
    return gray_of(pixels)
