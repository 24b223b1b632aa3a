"""``codec kv``: what belongs to key-value caches alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from siglum.cli.kv_store import store
from siglum.cli.output import say
from siglum.cli.units import format_size
from siglum.errors import UnsupportedInputError, UsageError

if TYPE_CHECKING:
    from siglum.codecs.kv.cache import KVCache


@click.group(short_help="Caches of models: calibrations, stores.", no_args_is_help=True)
def kv() -> None:
    """Work with key-value caches of language models; codec encode and decode take them too.

    \b
    Example:
      codec kv calibrate models/smollm2 texts/*.txt -o smollm2.kvcal.safetensors
    """  # noqa: D301


kv.add_command(store)


@kv.command(short_help="Learn the transforms of a model's caches.", no_args_is_help=True)
@click.argument("model")
@click.argument("texts", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
@click.option("-o", "--output", required=True, metavar="OUT", help="The file; its card is written beside it.")
@click.option("--name", metavar="NAME", help="Of the calibration.  [default: that of OUT]")
@click.option(
    "--models", metavar="NAMES", help="Names of models that it is for, with commas.  [default: MODEL]"
)
@click.option("--licence", default="unknown", show_default=True, metavar="SPDX", help="Of the calibration.")
@click.option(
    "--context", default=2048, show_default=True, type=click.IntRange(64), help="Tokens of a document."
)
@click.option(
    "--look", default=256, show_default=True, type=click.IntRange(16), help="Tokens that look back at them."
)
@click.option(
    "--group", default=6, show_default=True, type=click.IntRange(1, 64), help="Layers to a transform."
)
@click.option(
    "--documents", default=16, show_default=True, type=click.IntRange(1), help="Of all texts, at most."
)
@click.option("-f", "--force", is_flag=True, help="Overwrite.")
def calibrate(
    model: str,
    texts: tuple[str, ...],
    output: str,
    name: str | None,
    models: str | None,
    licence: str,
    context: int,
    look: int,
    group: int,
    documents: int,
    force: bool,
) -> None:
    """Run MODEL (a folder, a hub's name or a .gguf file) over TEXTS and learn what its caches are like.

    Texts are cut into documents, taken in turn from all of them; some 10^4 tokens suffice. Needs the extra [llm].
    """
    from siglum.codecs.kv.calibrate import calibrate as learn
    from siglum.codecs.kv.calibrate import fit_calibration, load_model

    target = _target(output, force)
    network, tokenizer = load_model(model)
    size = context + look
    cut = []
    for path in texts:
        try:
            text = Path(path).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UnsupportedInputError(f"{path} is no text in UTF-8") from error
        ids = tokenizer(text[: 8 * size * documents], verbose=False).input_ids
        cut.append([ids[i : i + size] for i in range(0, len(ids), size)])
    turns = [rows[i] for i in range(max(map(len, cut))) for rows in cut if i < len(rows)][:documents]

    def progress(done: int) -> None:
        say(f"{done} of {len(turns)} documents", err=True)

    moments = learn(network, turns, context=context, continuation=look, group=group, progress=progress)
    named = (name or target.name.split(".")[0]).lower()
    card = {
        "name": named,
        "licence": licence,
        "models": models.split(",") if models else [Path(model).name],
        "texts": [Path(path).name for path in texts],
        "documents": len(turns),
        "tokens": moments.count,
        "group": group,
    }
    made = fit_calibration(moments).save(target, card)
    say(
        f"{output}  {format_size(target.stat().st_size)}  {moments.count} tokens  id {made.id.hex()}",
        err=True,
    )


@kv.command(short_help="Give a calibration the transforms of other caches.", no_args_is_help=True)
@click.argument("calibration")
@click.argument("caches", nargs=-1, required=True, type=click.Path(exists=True))
@click.option("-o", "--output", required=True, metavar="OUT", help="The file; its card is written beside it.")
@click.option("--name", metavar="NAME", help="Of the calibration.  [default: that of OUT]")
@click.option(
    "--models", metavar="NAMES", help="Names of models that it is for, with commas.  [default: the caches']"
)
@click.option("--licence", default="unknown", show_default=True, metavar="SPDX", help="Of the calibration.")
@click.option("-f", "--force", is_flag=True, help="Overwrite.")
def refit(
    calibration: str,
    caches: tuple[str, ...],
    output: str,
    name: str | None,
    models: str | None,
    licence: str,
    force: bool,
) -> None:
    """Learn from CACHES (.safetensors, or folders of them) what they are like; keep how CALIBRATION weighs errors.

    CALIBRATION is a file, or the name of one that is installed. No model is needed, and every token counts the same:
    so a calibration widens to other kinds of text. Caches of texts come from codec bench kv TEXTS -c none --save DIR.
    """
    from siglum.codecs.kv.calibration import find
    from siglum.codecs.kv.files import read_cache
    from siglum.codecs.kv.refit import refit as learn

    target = _target(output, force)
    files = [
        file
        for path in map(Path, caches)
        for file in (sorted(path.rglob("*.safetensors")) if path.is_dir() else [path])
    ]
    if not files:
        raise UsageError("there is no .safetensors file below " + ", ".join(caches))
    given, names = find(calibration), set()

    def read() -> Iterator[KVCache]:
        for file in files:
            cache = read_cache(file)
            names.add(cache.model)
            yield cache

    made = learn(given, read(), lambda done: say(f"{done} of {len(files)} caches", err=True))
    card = {
        "name": (name or target.name.split(".")[0]).lower(),
        "licence": licence,
        "models": models.split(",") if models else sorted(filter(None, names)),
        "texts": [file.stem for file in files],
        "documents": len(files),
        "weights": f"of calibration {given.id.hex()}",
        "group": max(map(len, made.layout.groups)),
    }
    saved = made.save(target, card)
    say(f"{output}  {format_size(target.stat().st_size)}  id {saved.id.hex()}", err=True)


def _target(output: str, force: bool) -> Path:
    """The path of a calibration that may be written."""
    target = Path(output)
    if not target.name.endswith(".safetensors"):
        raise UsageError(f"{output}: a calibration is a .safetensors file")
    if target.exists() and not force:
        raise UsageError(f"{output} exists; -f overwrites it")
    return target
