"""Who computes the float networks: compiled code ("native", the default) or torch ("torch", on a GPU if there is one).

Table indices and symbols never depend on the engine: the prior is an integer network. Pixels agree within one
level; an encoder's choice of symbols may differ, as between any two machines.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

from numpy.typing import NDArray

Floats = NDArray[Any]
EngineName = Literal["native", "torch"]
ENGINES: tuple[EngineName, ...] = ("native", "torch")


class Engine(Protocol):
    """The networks of one model. Windows of a picture are cut by `siglum.codecs.image.windows`."""

    def analyse(
        self, pixels: NDArray[Any], level: int, out: Floats, top: int, left: int, threads: int
    ) -> None:
        """Latents in units of their step.

        Parameters
        ----------
        pixels
            (H, W, 3) uint8; edges are continued to a multiple of 16.
        out
            Where the latents (rows, columns, latent) float32 of positions from row `top`, column `left` go.
        """

    def hyper_analyse(self, y: Floats, level: int, threads: int) -> Floats:
        """(h, w, latent) float32 in steps -> (ceil(h/4), ceil(w/4), hyper) float32, edges continued."""

    def synthesise(self, y: Floats, level: int, out: NDArray[Any], top: int, left: int, threads: int) -> None:
        """Pixels of latents.

        Parameters
        ----------
        y
            (h, w, latent) float32 in units of their step.
        out
            Where the pixels (rows, columns, 3) uint8 from row `top`, column `left` go.
        """

    def synthesise_scaled(
        self,
        y: Floats,
        level: int,
        out: NDArray[Any],
        top: int,
        left: int,
        threads: int,
        factor: int,
    ) -> None:
        """Means of factor x factor pixels of latents, close to those of `synthesise` (factor 2, 4 or 8).

        Parameters
        ----------
        y
            (h, w, latent) float32 in units of their step.
        out
            Where the means (rows, columns, 3) uint8 from row `top`, column `left` of the smaller picture go; both are
            multiples of 16 / factor.
        """
