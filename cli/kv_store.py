"""``codec kv store``: a store of key-value caches, looked at, filled and emptied by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from siglum.cli.output import print_json, say
from siglum.cli.units import format_size, parse_size
from siglum.errors import UnsupportedInputError, UsageError


@click.group(short_help="A folder of caches, found by their tokens.", no_args_is_help=True)
def store() -> None:
    """Keep key-value caches in FOLDER, a path or a URL of fsspec, found by the tokens that filled them.

    TOKENS is a .json file: a list of ids, or an object that has one by the name "tokens".

    \b
    Example:
      codec kv store put caches prompt.safetensors prompt.json --model smollm2
      codec kv store get caches other.json --model smollm2 -o other.safetensors
    """  # noqa: D301


def _coding(command: Any) -> Any:
    """Options that say under which names entries stand."""
    for option in (
        click.option("--model", required=True, metavar="NAME", help="Of the model that filled the caches."),
        click.option("-q", "--quality", default=60.0, show_default=True, type=click.FloatRange(0, 100)),
        click.option("--lossless", is_flag=True, help="Every bit as it was."),
        click.option("--calibration", default="auto", show_default=True, help='A file, a name, or "none".'),
        click.option("--span", type=click.IntRange(64), metavar="N", help="Tokens of an entry, times 64."),
        click.option("--salt", default="", metavar="TEXT", help="Of the tenant."),
    ):
        command = option(command)
    return command


def _opened(folder: str, calibration: str, limit: str | None = None, **settings: Any) -> Any:
    from siglum.kv import Store

    return Store(
        folder,
        calibration=None if calibration == "none" else calibration,
        limit=None if limit is None else parse_size(limit),
        **settings,
    )


def _tokens(path: str) -> list[int]:
    try:
        found = json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise UnsupportedInputError(f"{path} is no JSON: {error}") from error
    if isinstance(found, dict):
        found = found.get("tokens")
    if not isinstance(found, list) or not all(type(token) is int and 0 <= token < 2**63 for token in found):
        raise UnsupportedInputError(f"{path} has no list of tokens")
    return found


@store.command(name="ls", short_help="List the entries.")
@click.argument("folder")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object an entry on stdout.")
def list_entries(folder: str, as_json: bool) -> None:
    """List what FOLDER holds, the entry used longest ago first."""
    from datetime import datetime, timezone

    from siglum.kv.folders import folder_of

    entries = sorted(folder_of(folder).entries(), key=lambda entry: entry.used)
    for entry in entries:
        used = datetime.fromtimestamp(entry.used, timezone.utc).isoformat(timespec="seconds")
        if as_json:
            print_json({"name": entry.name, "bytes": entry.size, "used": used})
        else:
            say(f"{entry.name}  {format_size(entry.size):>9}  {used}")
    if not as_json:
        say(f"{len(entries)} entries, {format_size(sum(entry.size for entry in entries))}", err=True)


@store.command(short_help="Store a cache.", no_args_is_help=True)
@click.argument("folder")
@click.argument("cache", type=click.Path(exists=True, dir_okay=False))
@click.argument("tokens", type=click.Path(exists=True, dir_okay=False))
@click.option("--limit", metavar="SIZE", help="Remove what was used longest ago beyond this, such as 10GB.")
@_coding
def put(folder: str, cache: str, tokens: str, **coding: Any) -> None:
    """Store CACHE, a .safetensors or .sgl file, under its TOKENS."""
    from siglum.kv import decompress, read_cache

    opened = _opened(folder, **coding)
    ids = _tokens(tokens)
    stored = opened.put(ids, decompress(cache) if cache.endswith(".sgl") else read_cache(cache))
    say(f"{cache}: {stored} of {len(ids)} tokens are stored", err=True)


@store.command(short_help="Load the longest beginning of a prompt.", no_args_is_help=True)
@click.argument("folder")
@click.argument("tokens", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "-o", "--output", metavar="OUT", help="A .safetensors file; without it, only say how much is there."
)
@click.option("-f", "--force", is_flag=True, help="Overwrite.")
@_coding
def get(folder: str, tokens: str, output: str | None, force: bool, **coding: Any) -> None:
    """Load the cache of as many of the first TOKENS as FOLDER has; print how many."""
    from siglum.kv import write_cache

    opened, ids = _opened(folder, **coding), _tokens(tokens)
    if output is None:
        say(str(opened.lookup(ids)))
        return
    if not output.endswith(".safetensors"):
        raise UsageError(f"{output}: caches are written as .safetensors")
    if Path(output).exists() and not force:
        raise UsageError(f"{output} exists; -f overwrites it")
    found = opened.get(ids)
    say(str(found.tokens if found is not None else 0))
    if found is None:
        raise UnsupportedInputError(f"{folder} has no beginning of {tokens}; nothing was written")
    write_cache(found, output)


@store.command(short_help="Remove what was used longest ago.", no_args_is_help=True)
@click.argument("folder")
@click.option(
    "--limit", metavar="SIZE", help="Bytes to keep, such as 10GB; without it, only what is half-written goes."
)
def gc(folder: str, limit: str | None) -> None:
    """Remove half-written files of killed processes, and what was used longest ago beyond the limit."""
    opened = _opened(folder, "none", limit, model="any")
    left = opened.gc()
    say(f"{folder}: {format_size(left)} in {len(opened.entries())} entries", err=True)
