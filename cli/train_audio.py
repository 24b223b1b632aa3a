"""``codec train audio``: train the audio codec."""

from __future__ import annotations

from pathlib import Path

import click

from siglum.cli import batch
from siglum.cli.training import begin_torch, check_folder, check_new, training_log, typed
from siglum.errors import UsageError


@click.command(short_help="Train the audio codec.", no_args_is_help=True)
@click.option("--data", metavar="DIR", required=True, help="A folder of recordings, with a folder a speaker.")
@click.option(
    "--out", metavar="DIR", required=True, help="The folder of the run: checkpoints, curve, recipe."
)
@click.option("--preset", metavar="NAME", default="speech", show_default=True, help="speech or fullband.")
@click.option("--hours", type=click.FloatRange(0, min_open=True), metavar="H", default=2.0, show_default=True)
@click.option(
    "--held-out",
    metavar="NAMES",
    default="",
    help="Folders below --data that validate, separated by commas.  [default: every fiftieth recording]",
)
@click.option("--batch", "batch_size", type=click.IntRange(1), metavar="N", default=12, show_default=True)
@click.option("--seed", type=int, metavar="N", default=1, show_default=True)
@click.option("--name", metavar="NAME", default="mine", show_default=True, help="Name of the new model.")
@click.option(
    "--learning-rate", type=click.FloatRange(0, min_open=True), metavar="R", default=1e-3, show_default=True
)
@click.option(
    "--prior-minutes",
    type=click.FloatRange(0, min_open=True),
    metavar="M",
    default=12.0,
    show_default=True,
    help="Processor time for what predicts the codes, at the end.",
)
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint in the folder of the run.")
@batch.threads_option
def audio(
    data: str,
    out: str,
    preset: str,
    hours: float,
    held_out: str,
    batch_size: int,
    seed: int,
    name: str,
    learning_rate: float,
    prior_minutes: float,
    resume: bool,
    threads: int | None,
) -> None:
    """Train the audio codec: networks and codebooks for all rates, then the prior of their codes.

    \b
    Examples:
      codec train audio --data speech --held-out anna --out runs/mine --hours 3
      codec train audio --data speech --held-out anna --out runs/mine --hours 5 --resume
    """  # noqa: D301
    check_folder(data, "recordings")
    check_new(Path(out) / "last.pt", resume)
    begin_torch(threads)

    from siglum.codecs.audio import train as training
    from siglum.codecs.audio.presets import PRESETS

    if preset not in PRESETS:
        raise UsageError(f"unknown preset {preset!r}; there are {', '.join(PRESETS)}")
    recipe = training.Recipe(
        preset=preset,
        hours=hours,
        batch=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        held_out=tuple(each for each in held_out.split(",") if each),
    )
    training.main(
        Path(data),
        Path(out),
        recipe,
        resume,
        log=training_log,
        name=name,
        prior_minutes=prior_minutes,
        command=typed(),
    )
