"""The `image-vq` codec: pictures as vector-quantized latents in a file of which any beginning is a picture."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from siglum.codecs import CODECS, container
from siglum.codecs.container import Chunk, ChunkType, Header
from siglum.codecs.image import lossless, windows
from siglum.codecs.image.frame import (
    MAX_LEVEL,
    MAX_SIDE,
    metadata_chunks,
    source_format,
    source_key,
    write_file,
)
from siglum.codecs.image.lossy import tiles
from siglum.codecs.image.picture import Picture, gray_of
from siglum.codecs.image.region import Region
from siglum.codecs.image_vq import stream
from siglum.codecs.image_vq.collect import Collected, collect
from siglum.codecs.image_vq.frame import (
    CODEC_ID,
    CODEC_VERSION,
    GROUPS_KEY,
    LANES_KEY,
    Plan,
    check_header,
)
from siglum.codecs.image_vq.weights import VqWeights, load_by_id, load_by_name, make
from siglum.errors import ChecksumMismatch, MalformedHeader, Truncated, UnsupportedInputError, UsageError
from siglum.kernels import dispatch
from siglum.kernels.checksum import crc32c

STRIP_PIXELS = 2**20  # a strip of opacity is as many whole rows as fit, at least one


class ConcealedWarning(UserWarning):
    """Parts of a picture were lost, and what is shown in their place is a guess."""


@dataclass(frozen=True)
class ImageVqConfig:
    """Settings of the codec; `ImageVqCodec(**config.to_dict())` gives the same codec again.

    Attributes
    ----------
    quality
        0 (smallest) to 100; ignored with `level`.
    level
        The level itself, 0..255, or None.
    lanes
        Chunks that each layer's blocks are dealt to, 1 to 16: more of them lose less each. None: by the size.
    partial
        Decode what there is of a file that was cut off.
    conceal
        Decode a file with lost or damaged chunks, and guess what they held.
    model
        Name of the weights that encode.
    threads
        Threads to use; None: as many as there are.
    """

    quality: float = 40.0
    level: int | None = None
    lanes: int | None = None
    partial: bool = False
    conceal: bool = False
    model: str = "vq-small"
    threads: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


class Prepared:
    """A picture to be encoded at several levels, for searches of a rate or a quality."""

    exact = None

    def __init__(self, codec: ImageVqCodec, picture: Picture) -> None:
        self._codec, self._picture = codec, picture
        self._latents: dict[int, NDArray[np.float32]] = {}

    def encode(self, level: int) -> bytes:
        """The file at a level."""
        data, latents = self._codec._encode(self._picture, level)
        self._latents = {level: latents}
        return data

    def reconstruct(self, level: int) -> NDArray[np.uint8]:
        """What the file of a level decodes to, without decoding its payload."""
        if level not in self._latents:
            self.encode(level)
        pixels = self._picture.pixels
        weights = load_by_name(self._codec.config.model)
        shown = self._codec._pixels(weights, self._latents[level], level, pixels.shape)
        return shown if self._picture.channels != 4 else np.dstack([shown, pixels[..., 3]])


@CODECS.register("image-vq")
class ImageVqCodec:
    """Pictures: uint8 gray (H, W), RGB (H, W, 3), RGBA (H, W, 4; alpha is lossless). Always lossy.

    Parameters are those of `ImageVqConfig`.

    Raises
    ------
    UsageError
        If a setting is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from siglum.codecs.image_vq.codec import ImageVqCodec
    >>> picture = np.zeros((48, 64, 3), np.uint8)
    >>> data = ImageVqCodec(quality=40).encode(picture)
    >>> ImageVqCodec().decode_array(data).shape
    (48, 64, 3)
    """

    id = CODEC_ID
    version = CODEC_VERSION

    @staticmethod
    def is_lossless(header: Header) -> bool:
        """Whether a file decodes to exactly what was encoded: never."""
        return False

    @staticmethod
    def check_weights(tensors: Mapping[str, NDArray[Any]], identifier: bytes) -> None:
        """Raise `UnknownModel` if tensors are no model of this codec."""
        make(tensors, identifier)

    def __init__(
        self,
        quality: float = 40.0,
        level: int | None = None,
        lanes: int | None = None,
        partial: bool = False,
        conceal: bool = False,
        model: str = "vq-small",
        threads: int | None = None,
        lossless: bool | None = None,
        engine: str = "native",
    ) -> None:
        for name, value, low, high in (
            ("quality", quality, 0, 100),
            ("level", level, 0, MAX_LEVEL),
            ("lanes", lanes, 1, stream.MAX_LANES),
            ("threads", threads, 1, 1024),
        ):
            if value is not None and not low <= value <= high:
                raise UsageError(f"{name} is {low} to {high}, not {value}")
        if lossless:
            raise UsageError("image-vq is lossy: take the codec image for lossless files")
        if engine != "native":
            raise UsageError(f"image-vq has the engine native, not {engine!r}")
        self.config = ImageVqConfig(quality, level, lanes, partial, conceal, model, threads)
        self.level = round(quality * MAX_LEVEL / 100) if level is None else level
        self.threads = threads or dispatch.threads()

    def __repr__(self) -> str:
        return f"ImageVqCodec({', '.join(f'{k}={v!r}' for k, v in self.config.to_dict().items())})"

    def encode(self, picture: Picture | NDArray[Any]) -> bytes:
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
        return self._encode(picture, self.level)[0]

    def prepare(self, picture: Picture) -> Prepared:
        """For encoding the same picture at several levels."""
        _check_sides(picture)
        return Prepared(self, picture)

    def _encode(self, picture: Picture, level: int) -> tuple[bytes, NDArray[np.float32]]:
        weights, pixels = load_by_name(self.config.model), picture.pixels
        rgb = np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels[..., :3]
        coded = stream.encode(weights, rgb, level, self.threads, self.config.lanes)
        extra: dict[int, Any] = {LANES_KEY: coded.plan.lanes, GROUPS_KEY: coded.plan.groups}
        header = Header(
            CODEC_ID, CODEC_VERSION, weights.id, pixels.shape, "uint8", level, extra | source_key(picture)
        )
        # Whatever is not a layer comes before the layers, so that shorter files keep it.
        chunks = [*metadata_chunks(picture), *(_opacity(pixels) if picture.channels == 4 else [])]
        chunks += [
            Chunk(ChunkType.DATA, number, part.payload, part.symbols_crc)
            for number, part in enumerate(coded.parts)
        ]
        return write_file(header, chunks), coded.latents

    def decode(self, data: bytes, limits: container.Limits | None = None) -> Picture:
        """The picture of a file, with its profile and metadata.

        A file from which chunks were taken off at the end (`container.truncate_chunks`) decodes to a coarser
        picture. With the setting `partial` one that was cut anywhere does; with `conceal` also one of which
        chunks in the middle are damaged or missing, with a `ConcealedWarning`.

        Raises
        ------
        BitstreamError
            If the file is damaged, truncated, of a later version or of unknown weights.
        """
        partial, conceal = self.config.partial or self.config.conceal, self.config.conceal
        reader = container.Reader(data, limits or container.Limits(), partial)
        header = reader.header
        plan = check_header(header)
        found = collect(reader, conceal)
        height, width = header.shape[:2]
        count = len(tiles(height, width))
        _check_parts(found, plan, count, conceal)
        parts = {number: stream.Part(c.payload, c.symbols_crc or 0) for number, c in found.data.items()}
        pixels, unused = self._decode_parts(header, plan, parts, conceal)
        if conceal and (found.lost or unused):
            warnings.warn(
                f"of the picture's chunks {found.lost} are damaged or missing, and {unused} more cannot be used "
                "without them: what is shown there is a guess",
                ConcealedWarning,
                stacklevel=2,
            )
        if header.shape[2:] == (4,):
            pixels = np.dstack([pixels, _opacity_of(found, height, width, partial)])
        return Picture(
            pixels,
            icc=found.only(ChunkType.ICC),
            exif=found.only(ChunkType.EXIF),
            xmp=found.only(ChunkType.XMP),
            source_format=source_format(header),
        )

    def decode_parts(self, header: Header, parts: dict[int, stream.Part]) -> NDArray[np.uint8]:
        """Pixels of some of a picture's parts, by their numbers; the others are left at what is expected of them."""
        return self._decode_parts(header, check_header(header), parts, False)[0]

    def _decode_parts(
        self, header: Header, plan: Plan, parts: dict[int, stream.Part], conceal: bool
    ) -> tuple[NDArray[np.uint8], int]:
        weights, level = load_by_id(header.model), header.quality
        assert level is not None
        height, width = header.shape[:2]
        y, unused = stream.decode(weights, plan, parts, height, width, level, self.threads, conceal)
        return self._pixels(weights, y, level, header.shape), unused

    def decode_region(
        self,
        source: bytes | BinaryIO,
        region: tuple[int, int, int, int],
        limits: container.Limits | None = None,
    ) -> Picture:
        """A part of a picture: x, y, width and height in pixels. All of the picture is decoded for it.

        Raises
        ------
        UsageError
            If the region is empty or not within the picture.
        BitstreamError
            As `decode`.
        """
        data = source if isinstance(source, bytes) else source.read()
        shape = container.read_header(data, limits or container.Limits()).shape
        part = Region(*region).check(shape[1], shape[0])
        whole = self.decode(data, limits)
        pixels = np.ascontiguousarray(whole.pixels[part.rows, part.columns])
        return Picture(pixels, icc=whole.icc, source_format=whole.source_format)

    def decode_array(self, data: bytes, limits: container.Limits | None = None) -> NDArray[np.uint8]:
        """The pixels of a file: (H, W), (H, W, 3) or (H, W, 4) uint8."""
        return self.decode(data, limits).pixels

    def _pixels(
        self, weights: VqWeights, y: NDArray[np.float32], level: int, shape: tuple[int, ...]
    ) -> NDArray[np.uint8]:
        height, width = shape[:2]
        rgb = windows.synthesise(weights.engine, weights.preset, y, level, height, width, self.threads)
        if len(shape) == 2:
            return gray_of(rgb)
        return rgb


def _check_sides(picture: Picture) -> None:
    if max(picture.width, picture.height) > MAX_SIDE:
        raise UnsupportedInputError(
            f"a side of {max(picture.width, picture.height)} pixels is beyond the {MAX_SIDE} that this codec takes"
        )


def _check_parts(found: Collected, plan: Plan, count: int, conceal: bool) -> None:
    """Refuse more chunks than there are parts, none at all, and parts without a checksum."""
    if found.data and max(found.data) >= plan.chunks(count):
        raise MalformedHeader(
            f"the file has chunk {max(found.data)} of {plan.chunks(count)} parts of its picture"
        )
    if not found.data:
        if not conceal:
            raise Truncated("the file has nothing of its picture: it was cut off; get it again")
        found.lost = plan.chunks(count)
    if any(chunk.symbols_crc is None for chunk in found.data.values()):
        raise MalformedHeader("a part of the picture has no checksum of its symbols")


def _strips(height: int, width: int) -> list[slice]:
    rows = max(1, STRIP_PIXELS // width)
    return [slice(top, min(top + rows, height)) for top in range(0, height, rows)]


def _opacity(pixels: NDArray[np.uint8]) -> list[Chunk]:
    planes = [np.ascontiguousarray(pixels[rows, :, 3:]) for rows in _strips(*pixels.shape[:2])]
    return [
        Chunk(ChunkType.ALPHA, i, lossless.encode_strip(plane), crc32c(plane.data.cast("B")))
        for i, plane in enumerate(planes)
    ]


def _opacity_of(found: Collected, height: int, width: int, partial: bool) -> NDArray[np.uint8]:
    """(H, W) uint8; opaque where a partial file has none."""
    plane = np.full((height, width), 255, np.uint8)
    for number, rows in enumerate(_strips(height, width)):
        chunk = found.opacity.get(number)
        if chunk is None:
            if partial:
                continue
            raise Truncated("the file lacks a part of its opacity: it was cut off; get it again")
        part = lossless.decode_strip(chunk.payload, rows.stop - rows.start, width, 1)
        if crc32c(np.ascontiguousarray(part).data.cast("B")) != chunk.symbols_crc:
            raise ChecksumMismatch(
                f"strip {number} of the opacity does not have the checksum that the file gives"
            )
        plane[rows] = part.reshape(-1, width)
    return plane


__all__ = ["CODEC_ID", "ConcealedWarning", "ImageVqCodec", "ImageVqConfig", "Prepared", "check_header"]
