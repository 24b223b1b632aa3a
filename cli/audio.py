"""The seam between the verbs and the audio codec; what is heavy is imported when it is called."""

from __future__ import annotations

import io
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from siglum.cli.files import open_output
from siglum.cli.inputs import Begun, Input
from siglum.cli.kinds import RECORDINGS, WAV, codec_in, kind_of
from siglum.cli.output import Reporter, complain, print_json, say
from siglum.cli.target import Target
from siglum.cli.units import format_seconds, format_size, parse_time
from siglum.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from siglum.codecs.audio.codec import AudioCodec
    from siglum.codecs.audio.files import Original
    from siglum.codecs.audio.frame import Form
    from siglum.codecs.audio.recording import Recording
    from siglum.codecs.container import Limits

CODEC = "audio"
CODEC_ID = 32
SUFFIX = ".wav"
FORMATS = {".wav": "wav", ".flac": "flac", ".ogg": "ogg", ".oga": "ogg", ".raw": "raw"}
SPEECH_GOALS = ("pesq", "stoi")
_READ = 2**12  # bytes of a coded recording at a time: some seconds


@dataclass(frozen=True)
class AudioSettings:
    """What the options say about recordings."""

    quality: float | None = None
    target: Target | None = None
    model: str | None = None
    effort: int | None = None
    threads: int | None = None

    @property
    def speech_model(self) -> str:
        """The model where speech is to be understood, whatever the rate."""
        from siglum.codecs.audio.codec import SPEECH

        return self.model or SPEECH

    def codec(self, **config: Any) -> AudioCodec:
        """The codec with these settings."""
        from siglum.codecs.audio.codec import AudioCodec

        given = {"model": self.model, "effort": self.effort, "threads": self.threads}
        return AudioCodec(**{key: value for key, value in (given | config).items() if value is not None})


class Stopwatch:
    """Counts the seconds that a codec takes, without those of files."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self.seconds += time.perf_counter() - self._start


def is_recording(head: bytes) -> bool:
    """Whether a file that begins so is a recording."""
    return kind_of(head) in RECORDINGS


def is_coded(head: bytes) -> bool:
    """Whether a siglum file that begins so holds a recording."""
    return codec_in(head) == CODEC_ID


def seekable(file: Begun, stack: ExitStack) -> BinaryIO:
    """The file, or a temporary copy of what a pipe holds."""
    if file.seekable():
        return cast(BinaryIO, file)
    kept: BinaryIO = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
    shutil.copyfileobj(file, kept)
    kept.seek(0)
    return kept


def encode_recording(
    source: Input, file: Begun, target: Path | None, settings: AudioSettings, force: bool, reporter: Reporter
) -> None:
    """Encode a recording block by block, or look for the file that reaches a goal."""
    from siglum.codecs.audio.files import open_recording

    goal, found = settings.target, dict[str, Any]()
    if goal is not None and goal.kind in ("rate", "psnr"):
        raise UsageError(
            "bpp and psnr are for pictures; recordings take -b 3kbps and --target pesq=2.5 or size=20kB"
        )
    watch = Stopwatch()
    with ExitStack() as stack:
        wav = kind_of(file.head) == WAV
        if goal is None or goal.kind == "bitrate":
            quality = settings.quality if goal is None else None
            codec = settings.codec(quality=quality, bitrate=None if goal is None else goal.value)
            original = stack.enter_context(open_recording(cast(BinaryIO, file), wav))
            out = stack.enter_context(open_output(target, force))
            length = None if original.length is None else original.length / original.rate
            with reporter.within(length) as show:
                samples, written = code(codec, original, out, target is None, watch, show)
        else:
            from siglum.cli.audio_target import search

            data, original, samples, found = search(seekable(file, stack), wav, goal, settings, watch)
            with open_output(target, force) as out:
                out.write(data)
            written = len(data)
        before = _size(file)
    if original.notice:
        complain(f"{source.name}: {original.notice}", "warning: ")
    duration = samples / original.rate
    if goal is not None and goal.kind == "bitrate" and 8 * written > goal.value * duration:
        complain(f"{source.name}: too short for {goal.value / 1000:g} kbps, headers take more", "note: ")
    rate = f"{8 * written / duration / 1000:.2f} kbps  " if duration else ""
    reached = "".join(
        f"  {name.upper()} {value:.3f}" for name, value in found.items() if name in SPEECH_GOALS
    )
    reporter.close(
        f"{source.name}  {format_size(before)} -> {format_size(written)}  {rate}{format_seconds(duration)}{reached}  "
        f"{_speed(duration, watch.seconds) if not found else f'{watch.seconds:.2f} s'}",
        {
            "input": source.name,
            "output": None if target is None else str(target),
            "codec": CODEC,
            "model": _model(settings, original, found),
            "rate_hz": original.rate,
            "channels": original.channels,
            "samples": samples,
            "duration_s": duration,
            "input_bytes": before,
            "output_bytes": written,
            "kbps": 8 * written / duration / 1000 if duration else None,
            **found,
            "seconds": watch.seconds,
        },
    )


def _model(settings: AudioSettings, original: Original, found: Mapping[str, Any]) -> str:
    """Name of the model that a recording was coded with."""
    from siglum.codecs.audio.codec import model_for

    goal, kbps = settings.target, found.get("asked_kbps")
    if goal is not None and goal.kind in SPEECH_GOALS:
        return settings.speech_model
    bitrate = goal.value if goal is not None and goal.kind == "bitrate" else kbps and 1000 * kbps
    return settings.model or model_for(original.rate, bitrate)


def code(
    codec: AudioCodec,
    original: Original,
    out: BinaryIO,
    flush: bool,
    watch: Stopwatch,
    show: Callable[[float], None] = lambda seconds: None,
) -> tuple[int, int]:
    """Write a recording as it is read; return its samples, and bytes of the file. ``show`` gets the seconds so far."""
    samples = written = 0
    with watch:
        encoder = codec.stream(original.rate, original.channels, length=original.length, depth=original.depth)

    def put(data: bytes) -> int:
        if data:
            out.write(data)
            if flush:  # packets leave as they are made
                out.flush()
        return len(data)

    for block in original.blocks():
        samples += len(block)
        with watch:
            data = encoder.push(block)
        written += put(data)
        show(samples / original.rate)
    with watch:
        data = encoder.finish()
    return samples, written + put(data)


@dataclass(frozen=True)
class Decoding:
    """What the options say about decoding recordings: a part, and what is done with damaged files."""

    start: str | None = None
    stop: str | None = None
    partial: bool = False
    conceal: bool = False
    threads: int | None = None

    def pieces(
        self, file: Begun, stack: ExitStack, report: Callable[[str], None], watch: Stopwatch
    ) -> tuple[Form, int | None, Iterator[NDArray[Any]]]:
        """What the header says, the number of samples if that is sure, and pieces of them."""
        if self.start is None and self.stop is None and not (self.conceal and file.seekable()):
            return _streamed(file, self, report, watch)
        from siglum.codecs.audio.edit import Coded
        from siglum.kernels.dispatch import threads

        coded = Coded(seekable(file, stack), partial=self.partial, conceal=self.conceal)
        start, stop = span_of(coded.samples, coded.form.rate, self.start, self.stop)
        pieces = coded.decode(start, stop, threads=threads(self.threads), report=report)
        return coded.form, None if self.conceal else stop - start, _timed(pieces, watch)


def span_of(samples: int, rate: int, start: str | None, stop: str | None) -> tuple[int, int]:
    """First sample and the one after the last, of what --from and --to say.

    Raises
    ------
    UsageError
        If it is nothing.
    """
    first = 0 if start is None else parse_time(start, rate)
    last = samples if stop is None else min(parse_time(stop, rate), samples)
    if first >= last:
        raise UsageError(f"nothing lies there: the recording has {samples / rate:.3f} s, {samples} samples")
    return first, last


def _streamed(
    file: Begun, options: Decoding, report: Callable[[str], None], watch: Stopwatch
) -> tuple[Form, int | None, Iterator[NDArray[Any]]]:
    from siglum.codecs.audio.decoder import StreamDecoder
    from siglum.kernels.dispatch import threads

    decoder = StreamDecoder(
        partial=options.partial, conceal=options.conceal, report=report, threads=threads(options.threads)
    )
    made: list[NDArray[Any]] = []
    while decoder.form is None and (data := file.read1(_READ)):
        with watch:
            made.append(decoder.push(data))
    if decoder.form is None:
        decoder.finish()  # which says what is wrong
    assert decoder.form is not None

    def rest() -> Iterator[NDArray[Any]]:
        yield from made[-1:]
        while data := file.read1(_READ):
            yield decoder.push(data)
        yield decoder.finish()

    length = None if options.partial or options.conceal else decoder.form.length
    return decoder.form, length, _timed(rest(), watch)


def _timed(pieces: Iterator[NDArray[Any]], watch: Stopwatch) -> Iterator[NDArray[Any]]:
    while True:
        with watch:
            piece = next(pieces, None)
        if piece is None:
            return
        if len(piece):
            yield piece


def decode_recording(
    source: Input,
    file: Begun,
    target: Path | None,
    form: str,
    options: Decoding,
    force: bool,
    reporter: Reporter,
) -> None:
    """Decode a recording piece by piece."""
    from siglum.codecs.audio.files import open_writer

    watch, samples = Stopwatch(), 0
    with ExitStack() as stack:
        head, length, pieces = options.pieces(file, stack, _warner(source), watch)
        out = stack.enter_context(open_output(target, force))
        writer = stack.enter_context(open_writer(out, form, head.rate, head.channels, head.depth, length))
        show = stack.enter_context(reporter.within(None if length is None else length / head.rate))
        for piece in pieces:
            samples += len(piece)
            writer.write(piece)
            show(samples / head.rate)
            if target is None:
                out.flush()
        before = _size(file)
    duration = samples / head.rate
    reporter.close(
        f"{source.name}  {format_size(before)} -> {format_seconds(duration)} {form}, {_form(head)}  "
        f"{_speed(duration, watch.seconds)}",
        {
            "input": source.name,
            "output": None if target is None else str(target),
            "format": form,
            "rate_hz": head.rate,
            "channels": head.channels,
            "samples": samples,
            "duration_s": duration,
            "input_bytes": before,
            "seconds": watch.seconds,
        },
    )


def read_any(source: Input, file: Begun, threads: int | None) -> tuple[Recording, int]:
    """All of a recording, coded or not, and its size in bytes."""
    import numpy as np

    from siglum.codecs.audio.files import read_recording
    from siglum.codecs.audio.recording import Recording

    if is_recording(file.head):
        return read_recording(cast(BinaryIO, file), kind_of(file.head) == WAV), _size(file)
    with ExitStack() as stack:
        head, _, pieces = Decoding(threads=threads).pieces(file, stack, _warner(source), Stopwatch())
        samples = np.concatenate([np.empty((0, head.channels), np.float32), *pieces])
    return Recording(samples, head.rate), _size(file)


def _size(file: Begun) -> int:
    """Bytes of a file that was read."""
    return file.seek(0, 2) if file.seekable() else file.count


def verify_recording(source: Input, file: Begun, threads: int | None, *, as_json: bool, quiet: bool) -> None:
    """Decode a recording and say that it is whole."""
    watch, samples = Stopwatch(), 0
    with ExitStack() as stack:
        head, _, pieces = Decoding(threads=threads).pieces(file, stack, _warner(source), watch)
        for piece in pieces:
            samples += len(piece)
    duration = samples / head.rate
    if as_json:
        size = {"rate_hz": head.rate, "channels": head.channels, "samples": samples, "duration_s": duration}
        print_json({"input": source.name, "ok": True, **size, "seconds": watch.seconds})
    elif not quiet:
        say(
            f"{source.name}: ok  {format_seconds(duration)}, {_form(head)}  {_speed(duration, watch.seconds)}"
        )


def limits() -> Limits:
    """What is accepted of a coded recording."""
    from siglum.codecs.audio.frame import LIMITS

    return LIMITS


def info_of(data: bytes) -> dict[str, Any]:
    """What `codec info` says of a recording besides what it says of every file; no weights are read."""
    from siglum.codecs import models
    from siglum.codecs.audio.edit import Coded
    from siglum.codecs.audio.encoder import latency
    from siglum.codecs.audio.weights import stored_preset
    from siglum.errors import UnknownModel

    coded = Coded(io.BytesIO(data))
    form, duration = coded.form, coded.samples / coded.form.rate
    fields: dict[str, Any] = {
        "shape": (coded.samples, form.channels),
        "quality": None,
        "asked_kbps": None if coded.header.quality is None else coded.header.quality / 1000,
        "duration_s": duration,
        "rate_hz": form.rate,
        "channels": form.channels,
        "samples": coded.samples,
        "source_bits": form.depth,
        "kbps": 8 * len(data) / duration / 1000 if duration else None,
        "segments": len(coded.segments),
        "frames_a_chunk": form.frames,
    }
    try:
        model = models.find_for(coded.header.model, CODEC)
        preset = stored_preset(model)
    except UnknownModel:
        return fields | {"model_name": "not installed"}
    span = preset.frame / preset.rate
    fields |= {"model_name": model.name, "chunk_s": form.frames * span}
    fields["latency_s"] = latency(preset, form.frames, form.rate) + (preset.decoder_ahead + 1) * span
    return fields


def _warner(source: Input) -> Callable[[str], None]:
    return lambda text: complain(f"{source.name}: {text}", "warning: ")


def _form(form: Form) -> str:
    return f"{form.rate} Hz, {form.channels} channel{'s' if form.channels > 1 else ''}"


def _speed(duration: float, seconds: float) -> str:
    return f"{seconds:.2f} s ({duration / max(seconds, 1e-6):.0f}x real time)"
