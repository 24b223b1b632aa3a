"""More codebooks for a trained model: where there are bits to spare, the groups that need them get more stages.

A residual quantizer's codebooks stand in a row, so more of them can follow without training the networks again, and
the codes of several groups can be interleaved in any order. What the waveform's group still leaves after six stages
is audible; the spectrum's group is good enough after three or four.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from siglum.codecs.audio.presets import Preset
from siglum.codecs.audio.transform import AudioModel
from siglum.quantizers import lookup
from siglum.quantizers.kmeans import kmeans

LAYOUTS = {
    # (spectrum, waveform) after each stage: (1, 1) (2, 2) (2, 4) (3, 5) (3, 7) (4, 8) (4, 10) (4, 12)
    "speech": (0, 1, 0, 1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 1, 1),
}


LEAST_USE = 0.95  # part of its codewords that a codebook must use on the training latents
_RARE = 0.1  # of the mean use: words that are used less are set elsewhere
_ROUNDS = 6


@torch.no_grad()
def extended(model: AudioModel, latents: Tensor, layout: tuple[int, ...], seed: int = 0) -> AudioModel:
    """A model with the same networks and codes in another layout; codebooks that are missing or idle are fitted.

    Parameters
    ----------
    model
        Trained, with alternating groups.
    latents : float32 (N, D)
        Training latents; what the codebooks of a group leave of them makes its next ones.
    layout
        Group of each code.
    """
    old: Preset = model.preset
    preset = replace(old, stages=len(layout) // old.groups, layout=layout)
    made = AudioModel(preset)
    state = {name: value for name, value in model.state_dict().items() if ".books." not in name}
    made.load_state_dict(state, strict=False)
    rotated = model.quantizer.rotate(latents)
    given = {part.start: members for part, members in model.quantizer.chains()}
    for part, members in made.quantizer.chains():
        left = rotated[:, part].contiguous()
        for rank, code in enumerate(members):
            book = made.quantizer.codebooks[code]
            if rank < len(given[part.start]):
                book.assign(model.quantizer.codebooks[given[part.start][rank]].vectors())
            if rank >= len(given[part.start]) or len(book.lookup(left).unique()) < LEAST_USE * book.size:
                book.assign(_fitted(left, book.size, seed))
            left = left - book.vectors()[book.lookup(left)]
    made.quantised = True
    return made.eval()


def _fitted(left: Tensor, count: int, seed: int) -> Tensor:
    """Codewords (K, D) for residuals (N, D) by k-means, none of them for a few vectors that lie far outside."""
    generator = torch.Generator().manual_seed(seed)
    words = kmeans(left, count, seed=seed)
    for _ in range(_ROUNDS):
        used = torch.bincount(lookup.top(left, words, 1)[0][:, 0], minlength=count)
        rare = torch.nonzero(used < _RARE * len(left) / count)[:, 0]
        if not len(rare):
            break
        words[rare] = left[torch.randperm(len(left), generator=generator)[: len(rare)]]
        words = kmeans(left, count, iterations=4, seed=seed, centroids=words)
    return words
