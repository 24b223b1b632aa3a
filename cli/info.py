"""``codec info``: what the header of a file says, without weights."""

from __future__ import annotations

from typing import Any

import click

from siglum.cli import audio, batch
from siglum.cli.inputs import Input, accept_siglum, expand
from siglum.cli.output import Reporter, print_json, say
from siglum.cli.pictures import limits_of
from siglum.cli.units import format_size


@click.command(short_help="What the header of a file says.", no_args_is_help=True)
@batch.inputs_argument
@batch.recursive_option
@batch.max_pixels_option
@batch.json_option
def info(inputs: tuple[str, ...], recursive: bool, max_pixels: int | None, as_json: bool) -> None:
    """Show what siglum files hold. Nothing is decoded, so no model is needed.

    \b
    Examples:
      codec info photo.sgl
      codec info --json -r small | jq .bits_per_element
    """  # noqa: D301
    sources = expand(inputs, recursive, accept_siglum)
    blocks = 0

    def work(source: Input) -> None:
        nonlocal blocks
        import siglum

        data = source.read(accept_siglum)
        recording = audio.is_coded(data)
        fields = siglum.inspect(data, limits=audio.limits() if recording else limits_of(max_pixels)).to_dict()
        if recording:
            fields |= audio.info_of(data)
        if as_json:
            print_json({"input": source.name} | fields)
            return
        say(("\n" if blocks else "") + _block(source.name, fields))
        blocks += 1

    batch.run_batch(sources, work, Reporter(as_json, quiet=True))


def _block(name: str, fields: dict[str, Any]) -> str:
    known = {key: value for key, value in fields.items() if value is not None and value != ""}
    shown = {key.replace("_", " "): _text(value) for key, value in known.items()}
    width = max(map(len, shown), default=0)
    return "\n".join([name, *(f"  {key:<{width}}  {value}" for key, value in shown.items())])


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    if isinstance(value, list | tuple) and value and isinstance(value[0], dict):
        return _chunks(value)
    if isinstance(value, list | tuple):
        return (
            " x ".join(map(str, value))
            if all(isinstance(x, int) for x in value)
            else ", ".join(map(str, value))
        )
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_text(item)}" for key, item in value.items()) or "none"
    return str(value)


def _chunks(chunks: Any) -> str:
    """Return the number and size of the chunks of each type, in the order in which the types begin."""
    totals: dict[str, list[int]] = {}
    for chunk in chunks:
        totals.setdefault(chunk["type"], []).append(chunk["bytes"])
    return ", ".join(f"{len(sizes)} {kind} ({format_size(sum(sizes))})" for kind, sizes in totals.items())
