"""What a file is, told by its first bytes and never by its name."""

from __future__ import annotations

SIGLUM = "siglum"
SAFETENSORS = "safetensors"
NPY = "npy"
HEAD_BYTES = 32
_SIGNATURES = (
    (b"\x89SGL\r\n\x1a\n", SIGLUM),
    (b"\x93NUMPY", NPY),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
)


def kind_of(head: bytes) -> str | None:
    r"""Return ``SIGLUM``, the name of a picture format, `SAFETENSORS` or None, from at least ``HEAD_BYTES`` of a file.

    Examples
    --------
    >>> kind_of(b"\xff\xd8\xff\xe0"), kind_of(b"hello")
    ('JPEG', None)
    """
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[4:8] == b"ftyp" and (b"avif" in head[8:32] or b"avis" in head[8:32]):
        return "AVIF"
    if head[:2] == b"BM" and len(head) > 14:
        return "BMP"
    # The size of a JSON text, then the text.
    if len(head) > 9 and head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") < 2**26:
        return SAFETENSORS
    if len(head) > 2 and head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace():
        return "PPM"
    return None
