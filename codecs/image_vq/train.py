"""The recipe: codebooks and synthesis for a transform and hyperprior; what is done is kept and not done again.

1. Latents of crops under a model whose transform and hyperprior stay as they are.
2. Codebooks, with their priors (`learn`).
3. The synthesis on what the whole cascade decodes to, short files included (`finetune`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from siglum.codecs import models
from siglum.codecs.image.constants import ANCHORS
from siglum.codecs.image_vq import export, finetune, gather, learn
from siglum.codecs.image_vq.books import Book
from siglum.codecs.image_vq.weights import CODEC, load_by_name, make
from siglum.datasets.images import CropSampler, find_images, split


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a run besides the pictures.

    Attributes
    ----------
    start
        The model whose transform and hyperprior are taken over.
    crops, held_out
        Crops of 256 x 256 to learn from, and of the held-out pictures to report on.
    book_steps
        Steps of training the codebooks.
    minutes
        Of training the synthesis; 0: it stays as it is.
    worth
        Bits that one squared step of error is worth to the encoder, on average over channels.
    lift
        How far decoded residuals are moved away from zero at the lowest and the highest level, in steps.
    seed
        Of everything.
    """

    start: str = "vq-small"
    crops: int = 1500
    held_out: int = 96
    book_steps: int = 2500
    minutes: float = 0.0
    worth: float = 14.0
    lift: tuple[float, float] = (0.12, 0.035)
    seed: int = 1


def channel_worth(worth: float, sensitive: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """(latent,): what an error is worth, by how much the picture feels it, within a factor of 1.5 of the mean."""
    bounded = np.clip(sensitive / np.median(sensitive), 1 / 1.5, 1.5)
    return (worth * bounded).astype(np.float32)


class Run:
    """A run in a folder.

    Parameters
    ----------
    data
        Folder of pictures; every twelfth is held out.
    out
        Folder of the run.
    """

    def __init__(self, recipe: Recipe, data: Path, out: Path, log: Callable[[str], None]) -> None:
        self.recipe, self.out, self.data = recipe, out, data
        out.mkdir(parents=True, exist_ok=True)
        self._log = log
        self.model = load_by_name(recipe.start)
        self.tensors = models.load(models.named(recipe.start, CODEC))
        train, held_out = split(find_images(data))
        self.train = gather.latents(
            self.model, CropSampler(train, seed=recipe.seed), recipe.crops, recipe.seed + 1
        )
        self.held_out = gather.latents(
            self.model, CropSampler(held_out, seed=recipe.seed + 2), recipe.held_out, recipe.seed + 3
        )
        self.sensitive = gather.sensitivity(self.model, self.held_out)
        self.worth = channel_worth(recipe.worth, self.sensitive)
        self.order = gather.importance(self.train, self.sensitive)
        self.lift = np.linspace(*recipe.lift, ANCHORS).astype(np.float32)
        self.conceal = gather.concealment(self.train, self.order)

    def log(self, line: str) -> None:
        """Print a line and keep it in the run's log, which the card quotes."""
        self._log(line)
        with (self.out / "log.txt").open("a") as file:
            file.write(line + "\n")

    def _collect(
        self, books: list[Book], synthesis: dict[str, NDArray[Any]] | None = None
    ) -> dict[str, NDArray[Any]]:
        image = {**self.tensors, **(synthesis or {})}
        return export.collect(image, books, self.order, self.conceal, self.worth, self.lift)

    def books(self) -> list[Book]:
        """Codebooks, trained or from the folder."""
        path = self.out / "books.pt"
        model = learn.empty()
        if path.exists():
            model.load_state_dict(torch.load(path, weights_only=True))
        else:
            torch.manual_seed(self.recipe.seed)
            data = gather.vectors(self.train, self.worth, 300_000)
            held_out = gather.vectors(self.held_out, self.worth, 40_000)
            model = learn.start(data, self.recipe.seed)
            learn.learn(
                model, data, self.recipe.book_steps, self.log, held_out=held_out, seed=self.recipe.seed
            )
            torch.save(model.state_dict(), path)
        return export.to_integers(model)

    def synthesis(self, books: list[Book]) -> dict[str, NDArray[Any]]:
        """The synthesis' tensors, trained or gone on with."""
        if not self.recipe.minutes:
            return {}
        weights = make(self._collect(books), bytes(8))
        data = finetune.decoded(weights, self.train, self.recipe.seed)
        model = finetune.Decoder(self.tensors, self.model.preset)
        tuner = finetune.Finetuner(model, data, self.recipe.minutes, seed=self.recipe.seed)
        path = self.out / "last.pt"
        if path.exists():
            tuner.resume(path)
        tuner.run(path, self.log)
        tuner.finish()
        return export.synthesis_tensors(model, self.tensors)


def main(
    data: Path,
    out: Path,
    recipe: Recipe,
    log: Callable[[str], None] = print,
    *,
    name: str = "mine",
    command: str = "",
) -> Path:
    """Train, then export; a run that was stopped goes on from what its folder holds.

    Returns
    -------
    The path of the weights.
    """
    run = Run(recipe, data, out, log)
    books = run.books()
    tensors = run._collect(books, run.synthesis(books))
    path = out / "model.safetensors"
    lines = (out / "log.txt").read_text().splitlines() if (out / "log.txt").exists() else []
    card = {
        "name": name,
        "licence": "Apache-2.0",
        "command": command,
        "data": f"{data}: {len(find_images(data))} pictures, every twelfth held out",
        "recipe": asdict(replace(recipe)),
        "curve": lines,
    }
    identifier = models.write(tensors, path, {**card, "codec": CODEC})
    log(f"{path}: model {identifier.hex()}; install it by: codec models add {path}")
    return path
