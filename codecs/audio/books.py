"""Codebooks of the group-residual quantizer: latents <-> codes, with a number of stages for every frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.audio.presets import Preset
from siglum.kernels import nearest

Floats = NDArray[np.float32]
Codes = NDArray[np.int32]


class Books:
    """The codebooks of one model.

    Parameters
    ----------
    tensors
        ``0``, ``1`` … (K, D / G) each, in the order of the codes.
    preset
        Sizes.

    Raises
    ------
    KeyError, ValueError
        If codebooks are missing or of other shapes.
    """

    def __init__(self, tensors: Mapping[str, NDArray[Any]], preset: Preset) -> None:
        self.preset = preset
        shape = (preset.codewords, preset.latent // preset.groups)
        self._words = [np.ascontiguousarray(tensors[str(i)], np.float32) for i in range(preset.codes)]
        if any(words.shape != shape for words in self._words):
            raise ValueError(f"codebooks are not of the shape {shape}")
        self._packed = [nearest.Packed(words) for words in self._words]
        self._of = [
            [i for i, own in enumerate(preset.layout) if own == group] for group in range(preset.groups)
        ]

    def encode(self, latents: Floats, threads: int = 1) -> tuple[Codes, Floats]:
        """Codes (T, R * G) of latents (T, D) at all stages, and what each number of stages leaves.

        Returns
        -------
        codes : int32 (T, R * G)
        errors : float32 (T, R + 1)
            Squared distances after 0 to R stages.
        """
        p = self.preset
        width = p.latent // p.groups
        codes = np.empty((len(latents), p.codes), np.int32)
        errors = np.zeros((len(latents), p.stages + 1), np.float32)
        if not len(latents):
            return codes, errors
        for group, books in enumerate(self._of):
            part = np.ascontiguousarray(latents[:, group * width : (group + 1) * width])
            codes[:, books] = nearest.residual(part, [self._packed[book] for book in books], threads=threads)
            left = np.square(part).sum(1)
            for stage in range(p.stages + 1):
                for book in books if stage else ():
                    if book // p.groups == stage - 1:
                        part = part - self._words[book][codes[:, book]]
                        left = np.square(part).sum(1)
                errors[:, stage] += left
        return codes, errors

    def turned(self) -> Floats:
        """All codewords, component by component: (S, D / G, K)."""
        return np.ascontiguousarray(np.stack(self._words).transpose(0, 2, 1))

    def refine(
        self, latents: Floats, codes: Codes, counts: NDArray[np.integer[Any]], beam: int, threads: int = 1
    ) -> Codes:
        """Better codes for frames that use so many stages: of a beam's result and what there is, the nearer.

        Parameters
        ----------
        latents, codes, counts
            (T, D), (T, R * G) from `encode`, and (T,).
        beam
            Partial solutions of the search, 2 to 64.
        """
        p = self.preset
        width = p.latent // p.groups
        better = codes.copy()
        for count in range(1, p.stages + 1):
            some = np.flatnonzero(counts == count)
            for group, own in enumerate(self._of) if len(some) else ():
                books = [book for book in own if book < count * p.groups]
                if len(books) < 2:
                    continue
                part = np.ascontiguousarray(latents[some, group * width : (group + 1) * width])
                found = nearest.beam(part, [self._packed[book] for book in books], beam, threads=threads)
                where = some[:, None], np.array(books)
                before = codes[where]
                nearer = self._left(part, found, books) < self._left(part, before, books)
                before[nearer] = found[nearer]
                better[where] = before
        return better

    def _left(self, part: Floats, codes: Codes, books: list[int]) -> Floats:
        for book, each in zip(books, codes.T, strict=True):
            part = part - self._words[book][each]
        return np.asarray(np.square(part).sum(1))

    def decode(self, codes: Codes, counts: NDArray[np.integer[Any]]) -> Floats:
        """Latents (T, D) of codes (T, R * G), of which each frame uses the first ``counts`` stages."""
        p = self.preset
        width = p.latent // p.groups
        latents = np.zeros((len(codes), p.latent), np.float32)
        for book, group in enumerate(p.layout):
            used = np.flatnonzero(counts > book // p.groups)
            latents[used, group * width : (group + 1) * width] += self._words[book][codes[used, book]]
        return latents
