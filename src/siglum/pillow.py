"""Pillow opens and saves `.sgl` pictures once this module is imported.

>>> import io
>>> from PIL import Image
>>> import siglum.pillow
>>> file = io.BytesIO()
>>> Image.new("RGB", (40, 30), "teal").save(file, "SGL", quality=60)
>>> Image.open(file).size
(40, 30)

`Image.save` takes ``quality`` (0 to 100), ``lossless`` (True, False; None leaves the choice to the codec), ``model``,
``threads``, ``effort``, ``tune``, ``icc_profile``, ``exif`` and ``xmp``; profile and metadata of an opened picture are
kept unless others are given. Opening reads the header only. `Image.draft` and `Image.thumbnail` decode at 1/2, 1/4 or
1/8, which takes less time. `Image.crop` decodes all of it, where `ImageCodec.decode_region` would not.
"""

from __future__ import annotations

from typing import IO, Any

import numpy as np
from PIL import Image, ImageFile

from siglum.codecs import container
from siglum.codecs.container import ChunkType
from siglum.codecs.container_header import SIGNATURE
from siglum.codecs.image.frame import CODEC_ID, check_header
from siglum.codecs.image.scale import FACTORS, scaled
from siglum.errors import SiglumError

FORMAT = "SGL"
_MODES = {2: "L", 3: "RGB", 4: "RGBA"}
_METADATA = ((ChunkType.ICC, "icc_profile"), (ChunkType.EXIF, "exif"), (ChunkType.XMP, "xmp"))
_SETTINGS = ("quality", "lossless", "model", "threads", "engine", "effort", "tune")


class SiglumImageFile(ImageFile.ImageFile):
    """A picture in a `.sgl` file, whose pixels are decoded when they are asked for."""

    format = FORMAT
    format_description = "siglum picture"

    def _open(self) -> None:
        assert self.fp is not None
        try:
            self._data = self.fp.read()
            reader = container.Reader(self._data)
            header = reader.header
            if header.codec != CODEC_ID:
                raise SyntaxError("a siglum file that holds no picture")
            check_header(header)
            for kind, name in _METADATA:
                entry = reader.find(kind)
                if entry is not None:
                    self.info[name] = reader.read(entry).payload
        except SiglumError as error:
            raise SyntaxError(str(error)) from error
        channels = header.shape[2] if len(header.shape) == 3 else 2
        self._mode = _MODES[channels]
        self._size = header.shape[1], header.shape[0]
        self._loaded, self._factor = False, 1

    def draft(
        self, mode: str | None, size: tuple[int, int] | None
    ) -> tuple[str, tuple[int, int, float, float]] | None:
        """Choose 1/2, 1/4 or 1/8 for decoding, as small as is at least `size` on both sides; the mode stays.

        `Image.thumbnail` calls it, as for JPEG files. It has no effect once pixels were decoded.
        """
        if self._loaded or size is None or self._factor > 1:
            return None
        width, height = self._size
        wanted = [factor for factor in FACTORS if width >= size[0] * factor and height >= size[1] * factor]
        if not wanted:
            return None
        self._factor = max(wanted)
        self._size = scaled(width, self._factor), scaled(height, self._factor)
        return self.mode, (0, 0, width / self._factor, height / self._factor)

    def load(self) -> Any:
        """Decode the pixels, if that has not been done.

        Raises
        ------
        OSError
            If the file is damaged or of unknown weights.
        """
        if not self._loaded:
            from siglum.codecs.image.codec import ImageCodec

            try:
                codec = ImageCodec()
                if self._factor == 1:
                    pixels = codec.decode_array(self._data)
                else:
                    pixels = codec.decode_scaled(self._data, self._factor).pixels
            except SiglumError as error:
                raise OSError(str(error)) from error
            self.im = Image.fromarray(pixels).im
            self._loaded, self._data = True, b""
            if self.fp is not None and self._exclusive_fp:
                self.fp.close()
            self.fp = None
        return Image.Image.load(self)


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    from siglum.codecs.image.codec import ImageCodec
    from siglum.codecs.image.picture import Picture

    given = {**image.encoderinfo}
    if image.mode not in _MODES.values():
        has_alpha = image.mode in ("LA", "PA") or "transparency" in image.info
        image = image.convert("RGBA" if has_alpha else "L" if image.mode == "1" else "RGB")
    metadata = {name: given.get(name, image.info.get(name)) for _, name in _METADATA}
    exif = metadata["exif"]
    exif = exif.tobytes() if isinstance(exif, Image.Exif) else exif
    picture = Picture(
        np.asarray(image),
        icc=metadata["icc_profile"] or None,
        exif=(exif or b"").removeprefix(b"Exif\0\0") or None,  # from its TIFF header on
        xmp=metadata["xmp"] or None,
    )
    settings = {name: given[name] for name in _SETTINGS if given.get(name) is not None}
    file.write(ImageCodec(**settings).encode(picture))


def _accept(head: bytes) -> bool:
    return head.startswith(SIGNATURE)


Image.register_open(FORMAT, SiglumImageFile, _accept)
Image.register_save(FORMAT, _save)
Image.register_extension(FORMAT, ".sgl")
Image.register_mime(FORMAT, "image/x-siglum")
