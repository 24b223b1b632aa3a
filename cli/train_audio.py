"""``codec train audio`` and ``codec train audio-decoder``: train the audio codec."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from siglum.cli import batch
from siglum.cli.training import begin_torch, check_folder, check_new, training_log, typed
from siglum.errors import UsageError

_option = partial(click.option, show_default=True)
_positive = click.FloatRange(0, min_open=True)


def _run_options(hours: float, learning_rate: float) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """What both stages of training are told."""
    options = [
        click.option(
            "--data", metavar="DIR", required=True, help="A folder of recordings, with a folder a speaker."
        ),
        click.option(
            "--out", metavar="DIR", required=True, help="The folder of the run: checkpoints, curve, recipe."
        ),
        _option("--hours", type=_positive, metavar="H", default=hours),
        click.option(
            "--held-out",
            metavar="NAMES",
            default="",
            help="Folders below --data that validate, separated by commas.  [default: every fiftieth recording]",
        ),
        _option("--batch", "batch_size", type=click.IntRange(1), metavar="N", default=12),
        _option("--seed", type=int, metavar="N", default=1),
        _option("--name", metavar="NAME", default="mine", help="Name of the new model."),
        _option("--learning-rate", type=_positive, metavar="R", default=learning_rate),
        click.option(
            "--resume", is_flag=True, help="Go on from the last checkpoint in the folder of the run."
        ),
        batch.threads_option,
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _begin(data: str, out: str, resume: bool, threads: int | None) -> None:
    check_folder(data, "recordings")
    check_new(Path(out) / "last.pt", resume)
    begin_torch(threads)


def _recipe(hours: float, batch_size: int, learning_rate: float, seed: int, held_out: str) -> dict[str, Any]:
    return {
        "hours": hours,
        "batch": batch_size,
        "learning_rate": learning_rate,
        "seed": seed,
        "held_out": tuple(each for each in held_out.split(",") if each),
    }


@click.command(short_help="Train the audio codec.", no_args_is_help=True)
@_option("--preset", metavar="NAME", default="speech", help="speech or fullband.")
@_option(
    "--prior-minutes",
    type=_positive,
    metavar="M",
    default=12.0,
    help="Processor time for what predicts the codes, at the end.",
)
@_run_options(2.0, 1e-3)
def audio(
    preset: str,
    prior_minutes: float,
    data: str,
    out: str,
    name: str,
    resume: bool,
    threads: int | None,
    **settings: Any,
) -> None:
    """Train the audio codec: networks and codebooks for all rates, then the prior of their codes.

    \b
    Examples:
      codec train audio --data speech --held-out anna --out runs/mine --hours 3
      codec train audio --data speech --held-out anna --out runs/mine --hours 5 --resume
    """  # noqa: D301
    _begin(data, out, resume, threads)

    from siglum.codecs.audio import train as training
    from siglum.codecs.audio.presets import PRESETS

    if preset not in PRESETS:
        raise UsageError(f"unknown preset {preset!r}; there are {', '.join(PRESETS)}")
    training.main(
        Path(data),
        Path(out),
        training.Recipe(preset=preset, **_recipe(**settings)),
        resume,
        log=training_log,
        name=name,
        prior_minutes=prior_minutes,
        command=typed(),
    )


@click.command(short_help="Train an audio model's decoder against a discriminator.", no_args_is_help=True)
@_option("--model", metavar="NAME", default="speech", help="The installed model whose decoder to train.")
@_run_options(0.6, 4e-4)
def audio_decoder(
    model: str,
    data: str,
    out: str,
    name: str,
    resume: bool,
    threads: int | None,
    **settings: Any,
) -> None:
    """Train the decoder of an audio model against a discriminator: how codes sound, with the codes as they are.

    \b
    Example:
      codec train audio-decoder --data speech --held-out anna --out runs/sound
    """  # noqa: D301
    _begin(data, out, resume, threads)

    from siglum.codecs.audio import decoder_train as training

    training.main(
        model,
        Path(data),
        Path(out),
        training.DecoderRecipe(**_recipe(**settings)),
        resume,
        log=training_log,
        name=name,
        command=typed(),
    )
