"""What decoded files are called, and of what format they are."""

from __future__ import annotations

from pathlib import Path

import click

from siglum.cli import audio, caches, tensors
from siglum.cli.files import check_distinct, stem_of, target_of
from siglum.cli.inputs import Input
from siglum.cli.pictures import limits_of

DEFAULT_FORMAT = "png"
LOSSY_FORMATS = ("jpeg", "avif")  # as we write them


def cache_name(name: str) -> str:
    """Return the name of a decoded cache."""
    return array_name(name, caches.SUFFIX)


def array_name(name: str, suffix: str) -> str:
    """Return ``a.npy`` of a.sgl and of a.npy.sgl; of recordings and caches alike."""
    stem = stem_of(name)
    return stem if stem != name and stem.endswith(suffix) else stem + suffix


def check_apart(sources: list[Input], output: str | None, out_dir: str | None) -> None:
    """Object to files that might become one, such as a.sgl and a.jpg.sgl: processes do not see each other's."""
    from siglum.codecs.image.picture import SUFFIXES

    def bare(name: str) -> str:
        stem = stem_of(name)
        return str(Path(stem).with_suffix("")) if Path(stem).suffix.lower() in SUFFIXES else stem

    check_distinct(sources, [target_of(source, output, out_dir, bare) for source in sources])


def fixed_format(output: str | None, chosen: str | None) -> str | None:
    """Return the format that the options ask for, if they do: of tensors the suffix, else its name."""
    from siglum.codecs.image.picture import SUFFIXES, WRITE_FORMATS, format_of_suffix

    if chosen is not None:
        if f".{chosen.lower().lstrip('.')}" in audio.FORMATS:
            return audio.FORMATS[f".{chosen.lower().lstrip('.')}"]
        if f".{chosen.lower().lstrip('.')}" in tensors.SUFFIXES:
            return f".{chosen.lower().lstrip('.')}"
        name = SUFFIXES.get(f".{chosen.lower().lstrip('.')}", chosen.lower())
        if name not in WRITE_FORMATS:
            raise click.BadParameter(f"unknown format {chosen!r}; there are {', '.join(WRITE_FORMATS)}")
        return name
    if output is None or output == "-" or (Path(output).exists() and not Path(output).is_file()):
        return None
    suffix = Path(output).suffix.lower()
    if suffix in audio.FORMATS:
        return audio.FORMATS[suffix]
    return suffix if suffix in tensors.SUFFIXES else format_of_suffix(output)


def format_in_header(data: bytes, max_pixels: int | None) -> tuple[str | None, str]:
    """Return the format to write by default; before it, if it is another for losing nothing, that of before."""
    from siglum.codecs.container import read_header
    from siglum.codecs.image.frame import is_lossless
    from siglum.codecs.image.picture import SOURCE_FORMAT_KEY, SOURCE_FORMATS, WRITE_FORMATS

    header = read_header(data, limits_of(max_pixels))
    number = header.extra.get(SOURCE_FORMAT_KEY)
    before = SOURCE_FORMATS.get(number) if isinstance(number, int) else None
    if before in LOSSY_FORMATS and is_lossless(header):
        return before, DEFAULT_FORMAT
    return None, before if before in WRITE_FORMATS else DEFAULT_FORMAT


def picture_name(name: str, chosen: str) -> str:
    """Return ``a.png`` of a.sgl, and of a.png.sgl too."""
    from siglum.codecs.image.picture import SUFFIXES, suffix_of_format

    stem = stem_of(name)
    if stem != name and SUFFIXES.get(Path(stem).suffix.lower()) == chosen:
        return stem
    return stem + suffix_of_format(chosen)
