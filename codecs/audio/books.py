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
        ``0``, ``1`` … (K, D / G) each, stage by stage: those of all groups, then the next stage's.
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
        for group in range(p.groups):
            part = np.ascontiguousarray(latents[:, group * width : (group + 1) * width])
            books = self._packed[group :: p.groups]
            found = nearest.residual(part, books, threads=threads)
            codes[:, group :: p.groups] = found
            errors[:, 0] += np.square(part).sum(1)
            for stage in range(p.stages):
                part = part - self._words[stage * p.groups + group][found[:, stage]]
                errors[:, stage + 1] += np.square(part).sum(1)
        return codes, errors

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
        for count in range(2, p.stages + 1):
            some = np.flatnonzero(counts == count)
            for group in range(p.groups) if len(some) else ():
                books = slice(group, count * p.groups, p.groups)
                part = np.ascontiguousarray(latents[some, group * width : (group + 1) * width])
                found = nearest.beam(part, self._packed[books], beam, threads=threads)
                nearer = self._left(part, found, books) < self._left(part, codes[some, books], books)
                better[some[nearer], books] = found[nearer]
        return better

    def _left(self, part: Floats, codes: Codes, books: slice) -> Floats:
        for words, each in zip(self._words[books], codes.T, strict=True):
            part = part - words[each]
        return np.asarray(np.square(part).sum(1))

    def decode(self, codes: Codes, counts: NDArray[np.integer[Any]]) -> Floats:
        """Latents (T, D) of codes (T, R * G), of which each frame uses the first ``counts`` stages."""
        p = self.preset
        width = p.latent // p.groups
        latents = np.zeros((len(codes), p.latent), np.float32)
        for stage in range(p.stages):
            used = np.flatnonzero(counts > stage)
            for group in range(p.groups):
                book = stage * p.groups + group
                latents[used, group * width : (group + 1) * width] += self._words[book][codes[used, book]]
        return latents
