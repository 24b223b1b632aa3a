"""Rate, distortion and speed of `image` and its peers: ``python -m siglum.benchmarks.image FOLDER``.

Every picture of the folder is coded as RGB, whole files count, and they are decoded in the same process.
BD-rates compare the curves of mean values, between 0.1 and 1.5 bits per pixel of either curve: a curve is
taken from where its interpolation reaches the first rate to where it reaches the second. Speeds are wall
clock, without the first call of a codec; peers use one thread, siglum those that are asked for.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from siglum.benchmarks.bd_rate import BdRate, bootstrap, compare_curves
from siglum.benchmarks.machine import describe
from siglum.benchmarks.peers import Coder, Pixels, peers
from siglum.benchmarks.rows import Cache, Mean, Row, WarmUp, means, measure, write_row
from siglum.datasets.images import find_images, load_rgb
from siglum.errors import SiglumError, UsageError

OURS = "siglum"
LEVELS = (0, 32, 64, 96, 128, 160, 192, 224, 255)
RATE_RANGE = (0.1, 1.5)
METRICS = {"PSNR": "psnr_db", "MS-SSIM": "ms_ssim_db"}


def siglum_coder(levels: Sequence[int] = LEVELS, threads: int | None = None, model: str = "small") -> Coder:
    """Return the `image` codec, lossy, as the benchmarks see it; its dial is the level, 0 to 255."""
    from siglum.codecs.image.codec import ImageCodec
    from siglum.codecs.image.weights import load_by_name
    from siglum.kernels import dispatch

    count = dispatch.threads(threads)
    codecs = {n: ImageCodec(level=n, threads=count, lossless=False, model=model) for n in levels}
    weights = load_by_name(model).id.hex()

    def encode(pixels: Pixels, level: int) -> bytes:
        return codecs[level].encode(pixels)

    def decode(data: bytes) -> Pixels:
        return codecs[levels[0]].decode(data).pixels

    settings = f"model={model} weights={weights} threads={count} (quality: level 0 to 255)"
    return Coder(OURS, tuple(levels), settings, version("siglum"), encode, decode)


def choose(names: Iterable[str], levels: Sequence[int] = LEVELS, threads: int | None = None) -> list[Coder]:
    """Return the coders of these names: siglum, jpeg, webp, avif.

    Raises
    ------
    UsageError
        If a name is unknown or there is none.
    """
    known = peers()
    chosen = []
    for name in dict.fromkeys(names):
        if name != OURS and name not in known:
            raise UsageError(f"unknown codec {name!r}; there are {', '.join([OURS, *known])}")
        chosen.append(siglum_coder(levels, threads) if name == OURS else known[name])
    if not chosen:
        raise UsageError(f"no codec to measure; there are {', '.join([OURS, *known])}")
    return chosen


def run(
    folder: Path | str,
    coders: Sequence[Coder],
    cache: Path | None = None,
    limit: int | None = None,
    progress: Callable[[list[Path]], Iterable[Path]] = iter,
) -> Iterator[Row]:
    """Measure every picture below a folder with every coder; rows come as they are measured.

    Parameters
    ----------
    folder
        Pictures; anything is converted to RGB.
    coders
        See `choose`.
    cache
        File of JSON lines with rows of the peers, so that they are measured once.
    limit
        Only so many pictures, in the order of their paths.
    progress
        Passes the paths on, and may show how many are done.

    Raises
    ------
    FileNotFoundError
        If there is no picture.
    UsageError
        If the cache is something else.
    """
    kept, warm = Cache(cache), WarmUp()
    for path in progress(find_images(folder)[:limit]):
        yield from measure(path.name, load_rgb(path), coders, kept, warm)


def report(rows: Sequence[Row], coders: Sequence[Coder]) -> str:
    """Return the table of means, the speeds and the BD-rates as text."""
    pictures = len({row.item_sha256 for row in rows})
    lines = [f"{pictures} picture{'s' if pictures != 1 else ''}"]
    lines.append("codec   quality     bpp   PSNR dB  MS-SSIM      dB   encode   decode MP/s")
    points = means(rows)
    for coder in coders:
        if coder.version is None:
            lines.append(f"{coder.name:<8}  absent: this Pillow was built without it")
        lines += [_point_line(point) for point in points if point.codec == coder.name]
    lines += ["", *(_speed_line(coder, rows) for coder in coders if coder.version is not None)]
    pairs = _pairs([coder.name for coder in coders])
    if pairs:
        low, high = RATE_RANGE
        lines += ["", f"from {low:g} to {high:g} bpp; intervals of 95 % by bootstrap over the pictures"]
    lines += [
        f"BD-rate of {name} against {anchor}: {_compared(rows, name, anchor)}" for name, anchor in pairs
    ]
    return "\n".join(lines)


def compare(rows: Sequence[Row], name: str, anchor: str, metric: str) -> BdRate:
    """Return the BD-rate between the mean curves of two codecs.

    Parameters
    ----------
    metric
        A key of ``METRICS``.

    Raises
    ------
    UsageError
        If the curves cannot be compared.
    """
    points = means(rows)
    curves: list[list[float]] = []
    for codec in (anchor, name):
        curve = [(point.bpp, getattr(point, METRICS[metric])) for point in points if point.codec == codec]
        if any(value is None for _, value in curve):
            raise UsageError(f"not every picture has a {metric} with {codec}")
        curves += [[rate for rate, _ in curve], [value for _, value in curve]]
    return compare_curves(*curves, rate_range=RATE_RANGE)


def interval(rows: Sequence[Row], name: str, anchor: str, metric: str) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of `compare` over the pictures."""
    values: list[np.ndarray] = []
    for codec in (anchor, name):
        groups: dict[int, dict[str, Row]] = {}
        for row in rows:
            if row.codec == codec:
                groups.setdefault(row.quality, {})[row.item_sha256] = row
        items = sorted(next(iter(groups.values())))
        # (qualities, items) each
        values.append(np.array([[group[item].bpp for item in items] for group in groups.values()]))
        attribute = "psnr_db" if metric == "PSNR" else "ms_ssim"
        values.append(
            np.array([[getattr(group[item], attribute) for item in items] for group in groups.values()])
        )

    def statistic(drawn: np.ndarray) -> float:
        curves = [value[:, drawn].mean(axis=1) for value in values]
        if metric != "PSNR":
            curves[1::2] = [-10 * np.log10(1 - curve) for curve in curves[1::2]]
        return compare_curves(*curves, rate_range=RATE_RANGE, least_overlap=0).percent

    return bootstrap(statistic, values[0].shape[1])


def _pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs (codec, anchor): siglum against every peer, the other peers against JPEG."""
    others = [name for name in names if name != OURS]
    ours = [(OURS, name) for name in others] if OURS in names else []
    return ours + ([(name, "jpeg") for name in others if name != "jpeg"] if "jpeg" in names else [])


def _compared(rows: Sequence[Row], name: str, anchor: str) -> str:
    measured = {row.codec for row in rows}
    if not {name, anchor} <= measured:
        return f"{', '.join(sorted({name, anchor} - measured))} absent"
    texts = []
    for metric in METRICS:
        try:
            result = compare(rows, name, anchor, metric)
        except UsageError as error:
            texts.append(f"{metric} none, {error}")
            continue
        spread = ""
        with suppress(UsageError):  # few pictures, drawn anew, may make no curve
            low, high = interval(rows, name, anchor, metric)
            spread = f"{low:+.1f} to {high:+.1f}; "
        span = f"overlap {100 * result.overlap:.0f} %, {result.low:.1f} to {result.high:.1f} dB"
        texts.append(f"{metric} {result.percent:+.1f} % ({spread}{span})")
    return "; ".join(texts)


def _point_line(point: Mean) -> str:
    decibels = "     -" if point.psnr_db is None else f"{point.psnr_db:6.2f}"
    similarity = "      -       -" if point.ms_ssim is None else f"{point.ms_ssim:7.5f}  "
    if point.ms_ssim is not None:
        similarity += "     -" if point.ms_ssim_db is None else f"{point.ms_ssim_db:6.2f}"
    return (
        f"{point.codec:<8}  {point.quality:5}  {point.bpp:6.4f}    {decibels}  {similarity}  "
        f"{point.encode_mps:7.2f}  {point.decode_mps:7.2f}"
    )


def _speed_line(coder: Coder, rows: Sequence[Row]) -> str:
    mine = [row for row in rows if row.codec == coder.name]
    megapixels = sum(row.pixels for row in mine) / 1e6
    encode = megapixels / max(sum(row.encode_seconds for row in mine), 1e-9)
    decode = megapixels / max(sum(row.decode_seconds for row in mine), 1e-9)
    speed = f"encode {encode:.2f}, decode {decode:.2f} MP/s"
    return f"{coder.name:<8}  {speed}  [{coder.version}; {coder.settings}]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m siglum.benchmarks.image", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", type=Path, help="folder of pictures")
    parser.add_argument("--codecs", default="siglum,jpeg,webp,avif", help="names, with commas")
    parser.add_argument("--levels", type=levels_of, default=LEVELS, help="of siglum, 0 to 255, with commas")
    parser.add_argument("-T", "--threads", type=int, help="of siglum; all by default")
    parser.add_argument("--limit", type=int, help="only so many pictures")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every row as a line of JSON")
    parser.add_argument("--cache", type=Path, metavar="FILE", help="keep the peers' rows for other runs")
    options = parser.parse_args(arguments)
    if options.limit is not None and options.limit < 1:
        parser.error("--limit is 1 or more")
    try:
        names = [name.strip() for name in options.codecs.split(",") if name.strip()]
        coders = choose(names, options.levels, options.threads)
        print(describe(f"{options.folder}, RGB, whole files"), flush=True)
        rows = list(_noted(run(options.folder, coders, options.cache, options.limit), options.json))
        print(report(rows, coders))
    except (SiglumError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 1)
    return 0


def _noted(rows: Iterator[Row], path: Path | None) -> Iterator[Row]:
    """Pass rows on, written to a file as they come."""
    with ExitStack() as stack:
        file: Any = stack.enter_context(path.open("w")) if path else None
        for row in rows:
            if file:
                write_row(row, file)
            yield row


def levels_of(text: str) -> tuple[int, ...]:
    """Return the levels of a list with commas, sorted.

    Raises
    ------
    ValueError
        If one is no number from 0 to 255.
    """
    levels = tuple(sorted({int(part) for part in text.split(",")}))
    if not levels or not 0 <= levels[0] <= levels[-1] <= 255:
        raise ValueError(text)
    return levels


if __name__ == "__main__":
    sys.exit(main())
