"""What an audio file says besides codes: its header, and the head of every chunk."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from siglum.codecs import container
from siglum.codecs.audio.gain import LEAST, MOST, RAMP
from siglum.codecs.audio.recording import check_form
from siglum.codecs.container import Header
from siglum.codecs.container_source import Source, append_varint
from siglum.errors import MalformedHeader, UnsupportedInputError

CODEC_ID = 32
CODEC_VERSION = 0
KEY_RATE = 17  # samples a second of the recording
KEY_FRAMES = 19  # of every chunk but the last
KEY_OPEN = 23  # 1: the length is not in the header
KEY_DEPTH = 16  # bits a sample of the recording, for those who write it to a file again
KEYS = (KEY_RATE, KEY_FRAMES, KEY_OPEN)
MOST_FRAMES = 4096
MOST_LENGTH = 2**40  # samples of a recording
RESET, END, CUT = 1, 2, 4  # flags of a chunk
HEAD_BYTES = 29  # of a chunk's head without the sizes of channels, at most
LIMITS = container.Limits(max_elements=MOST_LENGTH, max_chunk_bytes=2**24)


@dataclass(frozen=True)
class Form:
    """What a header says of a recording.

    Attributes
    ----------
    rate, channels
        Of the recording.
    frames
        Of every chunk but the last, at least `RAMP`.
    length
        Samples of each channel, or None if only the end of the file tells.
    depth
        Bits of a sample where the recording came from, or None.
    """

    rate: int
    channels: int
    frames: int
    length: int | None = None
    depth: int | None = None


def header_of(form: Form, model: bytes, bitrate: int | None) -> Header:
    """The header of a file; ``bitrate`` is what was asked for, in bits a second."""
    extra: dict[int, bytes | int | list[int]] = {KEY_RATE: form.rate, KEY_FRAMES: form.frames}
    if form.length is None:
        extra[KEY_OPEN] = 1
    if form.depth:
        extra[KEY_DEPTH] = form.depth
    shape = (form.length or 0, form.channels)
    return Header(CODEC_ID, CODEC_VERSION, model, shape, "float32", bitrate, extra)


def form_of(header: Header) -> Form:
    """What a header says, checked.

    Raises
    ------
    UnsupportedVersion, MalformedHeader
    """
    header.check_codec({CODEC_ID: CODEC_VERSION})
    header.check_keys(KEYS)
    numbers = {}
    for key in (*KEYS, KEY_DEPTH):
        value = header.extra.get(key, 0)
        if not isinstance(value, int):
            raise MalformedHeader(f"the header's key {key} is no number")
        numbers[key] = value
    if len(header.shape) != 2 or header.dtype != "float32":
        raise MalformedHeader("the header is not that of a recording")
    length, channels = header.shape
    try:
        check_form(numbers[KEY_RATE], channels)
    except UnsupportedInputError as error:
        raise MalformedHeader(f"the header is not that of a recording: {error}") from None
    if not RAMP <= numbers[KEY_FRAMES] <= MOST_FRAMES or numbers[KEY_OPEN] > 1:
        raise MalformedHeader(f"the header announces chunks of {numbers[KEY_FRAMES]} frames")
    if numbers[KEY_OPEN] and length:
        raise MalformedHeader("the header has a length, and says that it has none")
    return Form(
        numbers[KEY_RATE],
        channels,
        numbers[KEY_FRAMES],
        None if numbers[KEY_OPEN] else length,
        numbers[KEY_DEPTH] or None,
    )


@dataclass(frozen=True)
class Head:
    """What stands before the codes of a chunk.

    Attributes
    ----------
    reset
        It begins a segment: networks begin anew, and what the first frame gives is dropped.
    gain
        Steps by which it was made louder.
    frames
        Number of frames of a chunk that ends a segment, or None: as many as the header says.
    length
        Samples of that segment, at the recording's rate; those that are skipped count. The chunk that ends it has it,
        and that which begins it where that was cut out of a longer one.
    skip
        Where a segment begins that was cut out of a longer one: its samples that come before the first that is meant.
        They are decoded, because what follows depends on them, and dropped.
    sizes
        Bytes of the codes of every channel.
    """

    reset: bool
    gain: int
    sizes: tuple[int, ...]
    frames: int | None = None
    length: int | None = None
    skip: int | None = None


def pack(head: Head, payloads: list[bytes]) -> bytes:
    """The payload of a chunk."""
    ends, cut = head.frames is not None, head.skip is not None
    out = bytearray([RESET * head.reset | END * ends | CUT * cut, head.gain - LEAST])
    if head.frames is not None:
        append_varint(out, head.frames)
    if ends or cut:
        append_varint(out, head.length or 0)
    if head.skip is not None:
        append_varint(out, head.skip)
    for payload in payloads[:-1]:
        append_varint(out, len(payload))
    return bytes(out) + b"".join(payloads)


def head_of(source: Source, most: int) -> Head:
    """The head of a chunk at the beginning of its payload, without the sizes of its channels.

    Parameters
    ----------
    source
        The payload; its first `HEAD_BYTES` will do.
    most
        Frames of a chunk, at most.

    Raises
    ------
    Truncated, MalformedHeader
    """
    flags, gain = source.read(2, "the head of a chunk")
    if flags & ~(RESET | END | CUT) or gain > MOST - LEAST or flags & (RESET | CUT) == CUT:
        raise MalformedHeader("the head of a chunk makes no sense")
    frames = length = skip = None
    if flags & END:
        frames = source.read_varint("frames")
        if not 1 <= frames <= most:
            raise MalformedHeader(f"a chunk announces {frames} frames, wanted 1 to {most}")
    if flags & (END | CUT):
        length = source.read_varint("length")
        if length > MOST_LENGTH:
            raise MalformedHeader(f"a chunk announces {length} samples")
    if flags & CUT:
        skip = source.read_varint("skip")
        if skip > (length or 0):
            raise MalformedHeader(f"a chunk announces {length} samples, of which {skip} are dropped")
    return Head(bool(flags & RESET), gain + LEAST, (), frames, length, skip)


def unpack(payload: bytes, channels: int, most: int) -> tuple[Head, list[bytes]]:
    """The head of a chunk, and the codes of its channels; parameters and errors as of `head_of`."""
    source = Source(payload)
    head = head_of(source, most)
    sizes = [source.read_varint("size of a channel") for _ in range(channels - 1)]
    sizes.append(len(payload) - source.offset - sum(sizes))
    if sizes[-1] < 0:
        raise MalformedHeader("channels of a chunk are larger than the chunk")
    parts = [source.read(size, "codes of a channel") for size in sizes]
    return replace(head, sizes=tuple(sizes)), parts


def moved(payload: bytes, channels: int, most: int, **changes: Any) -> bytes:
    """A chunk with another head and the same codes."""
    head, parts = unpack(payload, channels, most)
    return pack(replace(head, **changes), parts)
