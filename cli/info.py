"""``codec info``: what the header of a file says, without weights."""

from __future__ import annotations

from typing import Any

import click

from siglum.cli import batch
from siglum.cli.inputs import Input, accept_siglum, expand
from siglum.cli.output import Reporter, print_json


@click.command(short_help="What the header of a file says.", no_args_is_help=True)
@batch.inputs_argument
@batch.recursive_option
@batch.json_option
def info(inputs: tuple[str, ...], recursive: bool, as_json: bool) -> None:
    """Show what siglum files hold. Reads their headers only: needs no model, and no time.

    \b
    Examples:
      codec info photo.sgl
      codec info --json -r small | jq .bits_per_pixel
    """  # noqa: D301
    sources = expand(inputs, recursive, accept_siglum)
    blocks = 0

    def work(source: Input) -> None:
        nonlocal blocks
        import siglum

        # The kind is checked by inspect itself; a file is not read whole for its header.
        content = source.read(accept_siglum) if source.path is None else source.path
        fields = siglum.inspect(content).to_dict()
        if as_json:
            print_json({"input": source.name} | fields)
            return
        click.echo(("\n" if blocks else "") + _block(source.name, fields))
        blocks += 1

    batch.run_batch(sources, work, Reporter(as_json, quiet=True))


def _block(name: str, fields: dict[str, Any]) -> str:
    shown = {key.replace("_", " "): _text(value) for key, value in fields.items() if value not in (None, "")}
    width = max(map(len, shown), default=0)
    return "\n".join([name, *(f"  {key:<{width}}  {value}" for key, value in shown.items())])


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    if isinstance(value, list | tuple):
        return (
            " x ".join(map(str, value))
            if all(isinstance(x, int) for x in value)
            else ", ".join(map(str, value))
        )
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_text(item)}" for key, item in value.items()) or "none"
    return str(value)
