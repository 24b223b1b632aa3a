"""What vector, residual, product, group-residual and additive quantizers are: chains of codebooks over slices.

A chain is a run of components and the codebooks that code it, each what the ones before left over. Codes stand
layer by layer: the first codebooks of all chains, then the second ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from siglum.quantizers import beam as beams
from siglum.quantizers import checks
from siglum.quantizers.base import Quantizer
from siglum.quantizers.codebook import Codebook, Spec, make_codebook
from siglum.quantizers.fit import fit_stages, refine
from siglum.quantizers.kmeans import sample
from siglum.quantizers.names import ESTIMATORS
from siglum.quantizers.rotation import STARTS, Rotation, balanced, optimised, random_rotation

if TYPE_CHECKING:
    from siglum.quantizers.tables import Tables


class Staged(Quantizer):
    """Chains of codebooks over equal slices of a vector, which may be rotated before.

    Parameters
    ----------
    dim
        Components, a multiple of the chains.
    chains
        Slices.
    sizes
        Codewords of each code, layer by layer; every chain has one codebook a layer.
    codebook
        Kind of the codebooks: a name in `siglum.quantizers.CODEBOOKS`, or a mapping of "kind" and settings.
    estimator
        Gradient through the whole stack: a name in `siglum.quantizers.ESTIMATORS`.
    dropout
        Probability that a vector uses a random number of layers in training.
    beam
        Partial solutions in training's search.
    rotation
        None, or how `start` sets the rotation: "pca", "opq" or "random".
    learned
        Whether the rotation is learned.
    settings
        Of the subclass, for `config`.
    """

    def __init__(
        self,
        dim: int,
        chains: int,
        sizes: Sequence[int],
        *,
        codebook: Spec = "gradient",
        estimator: str = "straight-through",
        dropout: float = 0.0,
        beam: int = 1,
        rotation: str | None = None,
        learned: bool = False,
        settings: dict[str, Any],
    ) -> None:
        checks.integer(dim, 1, None, "dim")
        checks.integer(chains, 1, dim, "groups")
        if dim % chains:
            raise ValueError(f"dim is {dim}, wanted a multiple of the {chains} groups")
        if not 0 <= dropout <= 1:
            raise ValueError(f"dropout is {dropout!r}, wanted a probability from 0 to 1")
        if rotation is not None and rotation not in STARTS:
            raise ValueError(f"rotation is {rotation!r}, wanted None or one of {', '.join(STARTS)}")
        super().__init__(dim, tuple(sizes), settings)
        self.step, self.width = chains, dim // chains
        self.beam = checks.integer(beam, 1, None, "beam")
        self.dropout, self.estimator = dropout, estimator
        self._estimate = ESTIMATORS.find(estimator)
        self._rotation_start = rotation
        self.rotation = Rotation(dim, learned) if rotation is not None else None
        self.books = nn.ModuleList(make_codebook(codebook, size, self.width) for size in self.sizes)

    @property
    def codebooks(self) -> list[Codebook]:
        """The codebooks in the order of the codes."""
        return [book for book in self.books if isinstance(book, Codebook)]

    def chains(self, count: int | None = None) -> Iterator[tuple[slice, list[int]]]:
        """Slice and stages of every chain that the first ``count`` codes reach."""
        count = self.stages if count is None else count
        for chain in range(min(self.step, count)):
            yield slice(chain * self.width, (chain + 1) * self.width), list(range(chain, count, self.step))

    def rotate(self, x: Tensor) -> Tensor:
        """Vectors (N, D) in the frame that is split."""
        return x if self.rotation is None else self.rotation(x)

    def unrotate(self, y: Tensor) -> Tensor:
        """Vectors (N, D) of the frame that is split in the data's."""
        return y if self.rotation is None else self.rotation.inverse(y)

    def _encode(self, x: Tensor, stages: int, beam: int) -> Tensor:
        y = self.rotate(x)
        codes = torch.empty(len(x), stages, dtype=torch.long, device=x.device)
        for part, members in self.chains(stages):
            books = [self.codebooks[stage] for stage in members]
            codes[:, members] = self._code_chain(y[:, part].contiguous(), books, beam)
        return codes

    def _code_chain(self, y: Tensor, books: Sequence[Codebook], beam: int) -> Tensor:
        """Codes of one chain: (N, d) -> (N, number of books)."""
        return beams.search(y, books, beam)

    def _decode(self, codes: Tensor) -> Tensor:
        return self.unrotate(self._sum(codes))

    def _sum(self, codes: Tensor) -> Tensor:
        """Sums of codewords in the frame that is split: (N, S') -> (N, D)."""
        parts = []
        for _, members in self.chains(codes.shape[1]):
            value = torch.zeros((), device=codes.device)
            for stage in members:
                value = value + self.codebooks[stage].vectors()[codes[:, stage]]
            parts.append(value)
        missing = self.step - len(parts)
        if missing:
            parts.append(parts[0].new_zeros(len(codes), missing * self.width))
        return torch.cat(parts, 1)

    def _train(self, x: Tensor, share: int) -> tuple[Tensor, Tensor, dict[str, Tensor], Tensor | None]:
        y = self.rotate(x)
        with torch.no_grad():
            codes = self._encode(x, self.stages, self.beam)
        active = self._dropped(len(x), share, x.device)
        parts, losses = [], dict[str, list[Tensor]]()
        for part, members in self.chains():
            rest, value = y[:, part], torch.zeros((), device=x.device)
            later = self._later(codes, members, active)
            for stage, ahead in zip(members, later, strict=True):
                book, chosen = self.codebooks[stage], codes[:, stage]
                used = None if active is None else active[:, stage]
                # Gradients do not flow through what earlier stages subtract, or theirs would cancel.
                left = rest - value.detach() - ahead
                taken = book.take(left, chosen)
                value = value + (taken if used is None else taken * used[:, None])
                if used is not None:
                    left, chosen = left[used], chosen[used]
                if len(chosen):
                    for name, loss in book.learn(left, chosen).items():
                        losses.setdefault(name, []).append(loss)
            parts.append(value)
        values = self.unrotate(self._estimate(y, torch.cat(parts, 1)))
        return values, codes, {name: torch.stack(terms).mean() for name, terms in losses.items()}, active

    def _later(self, codes: Tensor, members: list[int], active: Tensor | None) -> list[Tensor]:
        """What later stages of a chain add that each stage learns to leave to them: nothing in residual order."""
        return [torch.zeros((), device=codes.device)] * len(members)

    def _dropped(self, rows: int, share: int, device: torch.device) -> Tensor | None:
        """Which codes each vector uses under stage dropout, (N, S), or None for all."""
        layers = self.stages // self.step
        if not self.training or self.dropout == 0 or layers == 1:
            return None
        samples = rows // share
        count = torch.randint(1, layers + 1, (samples,), device=device)
        count = torch.where(torch.rand(samples, device=device) < self.dropout, count, layers)
        layer = torch.arange(self.stages, device=device) // self.step
        return layer < count.repeat_interleave(share)[:, None]

    def _start(self, x: Tensor) -> None:
        self._start_rotation(x)
        self._start_books(x)

    def _start_books(self, x: Tensor) -> None:
        """Set all codebooks from vectors, each from what those before it leave."""
        y = self.rotate(x)
        for part, members in self.chains():
            rest = y[:, part].contiguous()
            for stage in members:
                book = self.codebooks[stage]
                checks.enough(x, book.size)
                book.start(rest)
                rest = rest - book.vectors()[book.lookup(rest)]

    def fit(self, x: Tensor, *, beam: int = 8, iterations: int = 25, rounds: int = 4) -> None:
        """Set rotation and codebooks from data without gradients, better than `start` and slower.

        Stage by stage on what a beam search leaves over, then rotation and all codebooks together.

        Parameters
        ----------
        x : float (..., D)
            Training vectors; 50 or more a codeword are advisable, of more than 256 (and 32,768) a sample is used.
        beam
            Partial solutions of the searches, best the number used in encoding afterwards.
        iterations
            Of k-means.
        rounds
            Searches and solutions after that.

        Raises
        ------
        ValueError
            As `start`, or if codewords of this kind of codebook cannot be set.
        """
        x = checks.vectors(x, self.dim).detach().reshape(-1, self.dim)
        for name, value, least in (("beam", beam, 1), ("iterations", iterations, 1), ("rounds", rounds, 0)):
            checks.integer(value, least, None, name)
        with torch.no_grad():
            x = sample(x, max(self.sizes), torch.Generator().manual_seed(0))
            self._start_rotation(x)
            y = self.rotate(x)
            for part, members in self.chains():
                books = [self.codebooks[stage] for stage in members]
                fit_stages(y[:, part].contiguous(), books, beam=beam, iterations=iterations)
            refine(self, x, beam=beam, rounds=rounds)

    def _start_rotation(self, x: Tensor) -> None:
        if self.rotation is None:
            return
        centre = x.mean(0)
        if self._rotation_start == "random":
            matrix = random_rotation(self.dim).to(x.device)
        else:
            matrix = balanced(x, self.step)
        if self._rotation_start == "opq":
            starts = [matrix, torch.eye(self.dim, device=x.device)]
            matrix = optimised(x - centre, starts, self.step, max(self.sizes[: self.step]))
        self.rotation.assign(matrix, centre)

    def export(self) -> Tables:
        """Plain tables: codewords with everything that makes them folded in."""
        from siglum.quantizers.tables_export import export_staged

        return export_staged(self)
