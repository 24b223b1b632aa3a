"""What a file is, told by its first bytes and never by its name."""

from __future__ import annotations

SIGLUM = "siglum"
SAFETENSORS = "safetensors"
NPY = "npy"
WAV = "WAV"
RECORDINGS = frozenset((WAV, "FLAC", "Ogg", "MP3", "AIFF", "AU", "CAF", "Wave64"))
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
    (b"fLaC", "FLAC"),
    (b"OggS", "Ogg"),
    (b"ID3", "MP3"),
    (b".snd", "AU"),
    (b"caff", "CAF"),
    (b"riff\x2e\x91\xcf\x11", "Wave64"),
)


def kind_of(head: bytes) -> str | None:
    r"""Return ``SIGLUM``, the name of a format of pictures or recordings, `SAFETENSORS` or None.

    Parameters
    ----------
    head
        At least the first ``HEAD_BYTES`` of a file.

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
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return WAV
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "AIFF"
    if head[4:8] == b"ftyp" and (b"avif" in head[8:32] or b"avis" in head[8:32]):
        return "AVIF"
    if head[:2] == b"BM" and len(head) > 14:
        return "BMP"
    # The size of a JSON text, then the text.
    if len(head) > 9 and head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") < 2**26:
        return SAFETENSORS
    if len(head) > 2 and head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace():
        return "PPM"
    if _begins_mpeg_frame(head):
        return "MP3"
    return None


def codec_in(head: bytes) -> int | None:
    """Return the codec id in the first ``HEAD_BYTES`` of a siglum file, or None where they do not tell."""
    if kind_of(head) != SIGLUM or len(head) < HEAD_BYTES or head[8] != 1:
        return None
    body = 10 if head[9] < 0x80 else 11  # after the length of the header, of one or two bytes
    return head[body] if head[body] < 0x80 else None


def _begins_mpeg_frame(head: bytes) -> bool:
    """Whether a file begins with the head of a frame of MPEG audio, layer II or III."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    version, layer, bits, rate = head[1] >> 3 & 3, head[1] >> 1 & 3, head[2] >> 4, head[2] >> 2 & 3
    return version != 1 and layer in (1, 2) and 0 < bits < 15 and rate != 3
