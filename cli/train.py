"""``codec train``: train the networks of a codec."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from siglum.cli import batch
from siglum.cli.output import complain
from siglum.errors import UsageError, require_torch


@click.group(short_help="Train a model of one's own.", no_args_is_help=True)
def train() -> None:
    """Train the networks of a codec.

    \b
    Example:
      codec train image --data photos --preset small --out runs/mine --hours 3
    """  # noqa: D301


@train.command(short_help="Train the image codec.", no_args_is_help=True)
@click.option("--data", metavar="DIR", required=True, help="A folder of pictures, and those below it.")
@click.option(
    "--out", metavar="DIR", required=True, help="The folder of the run: checkpoints, curve, recipe."
)
@click.option("--preset", metavar="NAME", default="small", show_default=True, help="small or base.")
@click.option("--hours", type=click.FloatRange(0, min_open=True), metavar="H", default=2.0, show_default=True)
@click.option("--batch", "batch_size", type=click.IntRange(1), metavar="N", default=8, show_default=True)
@click.option("--crop", type=click.IntRange(64), metavar="N", default=256, show_default=True, help="Pixels.")
@click.option("--seed", type=int, metavar="N", default=1, show_default=True)
@click.option("--name", metavar="NAME", default="mine", show_default=True, help="Name of the new model.")
@click.option(
    "--learning-rate", type=click.FloatRange(0, min_open=True), metavar="R", default=1e-3, show_default=True
)
@click.option(
    "--tune",
    type=click.Choice(["psnr", "ms-ssim"]),
    default="psnr",
    show_default=True,
    help="What decoded pictures are to be good at.",
)
@click.option("--from", "start", metavar="MODEL", help="Begin with the weights of an installed model.")
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint in the folder of the run.")
@batch.threads_option
def image(
    data: str,
    out: str,
    preset: str,
    hours: float,
    batch_size: int,
    crop: int,
    seed: int,
    name: str,
    learning_rate: float,
    tune: str,
    start: str | None,
    resume: bool,
    threads: int | None,
) -> None:
    """Train the image codec from scratch, or go on with a run that was interrupted.

    The run keeps its last checkpoint (last.pt) and the validation curve (curve.jsonl) in its folder; stop it with
    Ctrl-C at any time. When the hours are over it writes model.safetensors and its card, which `codec models add`
    installs.

    \b
    Examples:
      codec train image --data photos --preset small --out runs/mine --hours 3
      codec train image --data photos --preset small --out runs/mine --hours 3 --resume
      codec train image --data photos --from small --tune ms-ssim --learning-rate 5e-4 --out runs/tuned --hours 1
    """  # noqa: D301
    if not Path(data).is_dir():
        raise UsageError(f"{data} is no folder; --data names one with pictures to learn from")
    if (Path(out) / "last.pt").exists() and not resume:
        raise UsageError(f"{out} holds a run already: --resume goes on with it, another --out starts anew")
    require_torch("training")
    import torch

    from siglum.codecs.image import train as training
    from siglum.codecs.image.ms_ssim import SMALLEST_SIDE
    from siglum.codecs.image.transform import PRESETS

    if preset not in PRESETS:
        raise UsageError(f"unknown preset {preset!r}; there are {', '.join(PRESETS)}")
    if threads is not None:
        torch.set_num_threads(threads)
    if tune == "ms-ssim" and crop < SMALLEST_SIDE:
        raise UsageError(f"--tune ms-ssim needs crops of at least {SMALLEST_SIDE} pixels, not {crop}")
    recipe = training.Recipe(
        preset=preset,
        hours=hours,
        batch=batch_size,
        crop=crop,
        learning_rate=learning_rate,
        seed=seed,
        tune=tune,
    )
    training.main(
        Path(data),
        Path(out),
        recipe,
        resume,
        log=lambda line: complain(str(line), "train: "),
        name=name,
        start=start,
        command=" ".join(["codec", *sys.argv[1:]]),
    )


@train.command(short_help="Make thumbnails of a model's pictures cheaper.", no_args_is_help=True)
@click.option("--data", metavar="DIR", required=True, help="A folder of pictures, and those below it.")
@click.option("--model", metavar="NAME", default="small", show_default=True, help="An installed model.")
@click.option("--out", metavar="FILE", required=True, help="The weights to write, .safetensors.")
def previews(data: str, model: str, out: str) -> None:
    """Fit what `codec decode --scale` runs instead of the whole synthesis, and write the model with it.

    Files decode as before: the model keeps its id. `codec train image` does this by itself for a new model.

    \b
    Example:
      codec train previews --data photos --model mine --out mine.safetensors
    """  # noqa: D301
    if not Path(data).is_dir():
        raise UsageError(f"{data} is no folder; --data names one with pictures to learn from")
    if Path(out).suffix != ".safetensors":
        raise UsageError(f"{out} must end in .safetensors")
    require_torch("training")
    from siglum.codecs import models
    from siglum.codecs.image import previews as short_cuts
    from siglum.codecs.image.weights import load_by_name

    card = models.named(model, "image").card
    short_cuts.write(load_by_name(model), card, Path(data), Path(out))
