"""``codec models``: the weights that are installed, and how to add one's own."""

from __future__ import annotations

import json

import click

from siglum.cli.output import Reporter, print_json, say
from siglum.cli.units import format_size


@click.group(short_help="The models that are installed.", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a model on stdout.")
@click.pass_context
def models(context: click.Context, as_json: bool) -> None:
    """List the models that are installed; add adds one's own.

    They are looked for in the package, in the folders of SIGLUM_MODELS, and in the user's own folder
    (~/.local/share/siglum/models). Nothing is ever downloaded.

    \b
    Examples:
      codec models
      codec models show small
      codec models add runs/mine/model.safetensors
    """  # noqa: D301
    if context.invoked_subcommand is not None:
        return
    from siglum.codecs.models import catalogue

    with Reporter().warnings_of("models"):
        installed = catalogue()
    if as_json:
        for model in installed:
            print_json(model.card | {"id": model.id, "size": model.size, "path": str(model.path)})
        return
    if not installed:
        click.echo("no model is installed; codec models add FILE installs one")
        return
    rows = [("name", "codec", "id", "size", "licence", "where")]
    rows += [
        (model.name, model.codec, model.id, format_size(model.size), model.licence, str(model.path.parent))
        for model in installed
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        say("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


@models.command(short_help="Print the card of a model.", no_args_is_help=True)
@click.argument("name")
@click.option("-c", "--codec", default="image", show_default=True, help="The codec that it is for.")
def show(name: str, codec: str) -> None:
    """Print the card of a model: how it was trained, on what, and how good it is.

    \b
    Example:
      codec models show small
    """  # noqa: D301
    from siglum.codecs.models import named

    with Reporter().warnings_of("models"):
        click.echo(json.dumps(named(name, codec).card, indent=2, ensure_ascii=False))


@models.command("add", short_help="Install weights of one's own.", no_args_is_help=True)
@click.argument("file", type=click.Path())
@click.option("-f", "--force", is_flag=True, help="Even if another model has the name already.")
def add(file: str, force: bool) -> None:
    """Install weights: FILE is a .safetensors file with its card, the same name and .json, beside it.

    The card needs the fields name, codec and licence (texts). Both are copied to the user's folder.

    \b
    Example:
      codec models add runs/mine/model.safetensors
    """  # noqa: D301
    from siglum.codecs.models import add as install

    with Reporter().warnings_of("models"):
        model = install(file, force)
    say(f"{model.name} ({model.codec}, {model.id}) is installed in {model.path.parent}", err=True)
