"""``codec train``: train the networks of a codec."""

from __future__ import annotations

from pathlib import Path

import click

from siglum.cli import batch
from siglum.cli.train_audio import audio, audio_decoder
from siglum.cli.training import begin_torch, check_folder, check_new, training_log, typed
from siglum.errors import UsageError


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
    check_folder(data)
    check_new(Path(out) / "last.pt", resume)
    begin_torch(threads)

    from siglum.codecs.image import train as training
    from siglum.codecs.image.ms_ssim import SMALLEST_SIDE
    from siglum.codecs.image.transform import PRESETS

    if preset not in PRESETS:
        raise UsageError(f"unknown preset {preset!r}; there are {', '.join(PRESETS)}")
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
        log=training_log,
        name=name,
        start=start,
        command=typed(),
    )


@train.command("image-prior", short_help="Train only the prior of the image codec.", no_args_is_help=True)
@click.option("--data", metavar="DIR", required=True, help="A folder of pictures, and those below it.")
@click.option("--out", metavar="DIR", required=True, help="The folder of the run: checkpoint, curve, recipe.")
@click.option(
    "--from",
    "start",
    metavar="MODEL",
    required=True,
    help="Whose transform to keep: an installed model, or a checkpoint (.pt).",
)
@click.option("--steps", type=click.IntRange(1), metavar="N", default=10000, show_default=True)
@click.option(
    "--learning-rate", type=click.FloatRange(0, min_open=True), metavar="X", default=1e-3, show_default=True
)
@click.option(
    "--cooldown",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="PART",
    default=0.5,
    show_default=True,
    help="Part of the steps over which the learning rate falls to zero.",
)
@click.option(
    "--quantise-from",
    type=click.FloatRange(0, 1),
    metavar="PART",
    default=0.7,
    show_default=True,
    help="Part of the steps after which weights have 8 bits.",
)
@click.option("--batch", "batch_size", type=click.IntRange(1), metavar="N", default=8, show_default=True)
@click.option("--crop", type=click.IntRange(64), metavar="N", default=256, show_default=True, help="Pixels.")
@click.option("--seed", type=int, metavar="N", default=1, show_default=True)
@click.option("--name", metavar="NAME", default="mine", show_default=True, help="Name of the new model.")
@click.option("--independent", is_flag=True, help="Independent Gaussians, to see what neighbours are worth.")
@click.option("--resume", is_flag=True, help="Go on from the checkpoint in the folder of the run.")
@batch.threads_option
def image_prior(
    data: str,
    out: str,
    start: str,
    steps: int,
    learning_rate: float,
    cooldown: float,
    quantise_from: float,
    batch_size: int,
    crop: int,
    seed: int,
    name: str,
    independent: bool,
    resume: bool,
    threads: int | None,
) -> None:
    """Train what predicts the latents of the image codec, and leave the transform as it is.

    Pictures of the same quality come out as before, in fewer bytes. This is the second stage after `codec train
    image`, whose checkpoint it takes, and a cheap one.

    \b
    Example:
      codec train image-prior --data photos --from runs/mine/last.pt --out runs/prior --steps 10000
    """  # noqa: D301
    check_folder(data)
    check_new(Path(out) / "prior.pt", resume)
    begin_torch(threads)

    from siglum.codecs.image import train_prior as training

    recipe = training.PriorRecipe(
        steps=steps,
        batch=batch_size,
        crop=crop,
        learning_rate=learning_rate,
        cooldown=cooldown,
        quantise_from=quantise_from,
        correlated=not independent,
        seed=seed,
    )
    training.main(
        Path(data),
        Path(out),
        recipe,
        start,
        resume,
        log=training_log,
        name=name,
        command=typed(),
    )


@train.command("image-vq", short_help="Train the image-vq codec.", no_args_is_help=True)
@click.option("--data", metavar="DIR", required=True, help="A folder of pictures, and those below it.")
@click.option(
    "--out", metavar="DIR", required=True, help="The folder of the run; what it holds is not done again."
)
@click.option(
    "--from", "start", metavar="MODEL", default="vq-small", show_default=True, help="The model to begin with."
)
@click.option("--crops", type=click.IntRange(64), metavar="N", default=1500, show_default=True)
@click.option("--book-steps", type=click.IntRange(1), metavar="N", default=2500, show_default=True)
@click.option("--minutes", type=click.FloatRange(0), metavar="M", default=0.0, show_default=True)
@click.option("--seed", type=int, metavar="N", default=1, show_default=True)
@click.option("--name", metavar="NAME", default="mine", show_default=True, help="Name of the new model.")
@batch.threads_option
def image_vq(
    data: str,
    out: str,
    start: str,
    crops: int,
    book_steps: int,
    minutes: float,
    seed: int,
    name: str,
    threads: int | None,
) -> None:
    """Train codebooks and the synthesis of image-vq; transform and hyperprior are those of a model that is there.

    Stop it with Ctrl-C at any time; the same command goes on. At the end it writes model.safetensors and its card,
    which `codec models add` installs. M are minutes for
    the synthesis; with 0 it stays as it is.

    \b
    Example:
      codec train image-vq --data photos --out runs/vq
    """  # noqa: D301
    check_folder(data)
    begin_torch(threads)

    from siglum.codecs.image_vq import train as training

    recipe = training.Recipe(start, crops, max(crops // 16, 4), book_steps, minutes, seed=seed)
    training.main(
        Path(data),
        Path(out),
        recipe,
        log=training_log,
        name=name,
        command=typed(),
    )


@train.command("image-fast", short_help="Train the image-fast codec.", no_args_is_help=True)
@click.option("--data", metavar="DIR", required=True, help="A folder of pictures, and those below it.")
@click.option(
    "--out", metavar="DIR", required=True, help="The folder of the run: checkpoints, curve, recipe."
)
@click.option("--hours", type=click.FloatRange(0, min_open=True), metavar="H", default=1.0, show_default=True)
@click.option("--batch", "batch_size", type=click.IntRange(1), metavar="N", default=8, show_default=True)
@click.option("--crop", type=click.IntRange(64), metavar="N", default=256, show_default=True, help="Pixels.")
@click.option("--seed", type=int, metavar="N", default=1, show_default=True)
@click.option("--name", metavar="NAME", default="mine", show_default=True, help="Name of the new model.")
@click.option(
    "--from", "start", metavar="MODEL", default="small", show_default=True, help="A model of the image codec."
)
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint in the folder of the run.")
@batch.threads_option
def image_fast(
    data: str,
    out: str,
    hours: float,
    batch_size: int,
    crop: int,
    seed: int,
    name: str,
    start: str,
    resume: bool,
    threads: int | None,
) -> None:
    """Train the image-fast codec, beginning with the synthesis of a model of the image codec.

    With --from pca the projections begin as principal components.

    \b
    Example:
      codec train image-fast --data photos --out runs/fast --hours 1
    """  # noqa: D301
    check_folder(data)
    if crop % 16:
        raise UsageError(f"--crop must be a multiple of 16, not {crop}")
    check_new(Path(out) / "last.pt", resume)
    begin_torch(threads)

    from siglum.codecs.image_fast import train as training

    recipe = training.Recipe(hours=hours, batch=batch_size, crop=crop, seed=seed, start=start)
    training.main(
        Path(data),
        Path(out),
        recipe,
        resume,
        log=training_log,
        name=name,
        command=typed(),
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
    check_folder(data)
    if Path(out).suffix != ".safetensors":
        raise UsageError(f"{out} must end in .safetensors")
    begin_torch(None)
    from siglum.codecs import models
    from siglum.codecs.image import previews as short_cuts
    from siglum.codecs.image.weights import load_by_name

    card = models.named(model, "image").card
    short_cuts.write(load_by_name(model), card, Path(data), Path(out))


train.add_command(audio)
train.add_command(audio_decoder, "audio-decoder")
