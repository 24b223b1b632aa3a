"""Codewords that follow the mean of their vectors; words that are hardly used start anew."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from siglum.quantizers import checks
from siglum.quantizers.codebook import Codebook
from siglum.quantizers.names import CODEBOOKS


@CODEBOOKS.register("ema")
class EMACodebook(Codebook):
    """Online k-means: moving averages of counts and sums, restarts relative to the mean use.

    With decay g, n_k vectors of a batch assigned to word k and s_k their sum: ``N <- g N + (1 - g) n``, ``S <- g S +
    (1 - g) s``, ``c = (S + e c) / (N + e)`` (van den Oord et al., arXiv 1711.00937, appendix A.1). The smoothing e
    weighs the word's own last position: a word without vectors stays where it is. (Adding e to the counts alone, as
    is often done, draws rare words to the origin.)

    Every few steps the words whose N is below a share of the mean N are put on vectors drawn from the batch, with the
    mean N, so that they are not replaced again at once. The share does not depend on the size of batches or codebook.
    Draws depend on the seed and the number of the step only.

    Losses: ``commitment = weight |x - sg(c)|^2``, a mean over vectors and components.

    Parameters
    ----------
    size, dim
        K and D.
    commitment
        Weight of the commitment loss.
    decay
        g, 0 to 1: the average reaches back about 1 / (1 - g) batches.
    restart
        Share of the mean use below which a word starts anew; 0: never. To finish a training, set ``restart`` to 0
        for the last steps: words need some batches to settle.
    every
        Steps between two checks.
    smoothing
        e, as a share of the mean use.
    seed
        Of the draws.

    Raises
    ------
    ValueError
        If a setting is out of range.
    """

    kind = "ema"
    weight: Tensor
    counts: Tensor
    sums: Tensor
    steps: Tensor

    def __init__(
        self,
        size: int,
        dim: int,
        commitment: float = 0.25,
        decay: float = 0.99,
        restart: float = 0.1,
        every: int = 5,
        smoothing: float = 1e-3,
        seed: int = 0,
    ) -> None:
        super().__init__(
            size,
            dim,
            commitment=commitment,
            decay=decay,
            restart=restart,
            every=every,
            smoothing=smoothing,
            seed=seed,
        )
        for name, value, most in (
            ("decay", decay, 1.0),
            ("restart", restart, 1.0),
            ("smoothing", smoothing, 1.0),
        ):
            if not 0 <= value < most:
                raise ValueError(f"{name} is {value!r}, wanted 0 to below {most:g}")
        self.commitment, self.decay, self.restart, self.smoothing = commitment, decay, restart, smoothing
        self.every = checks.integer(every, 1, None, "every")
        self.seed = checks.integer(seed, 0, 2**31, "seed")
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("weight", torch.randn(size, dim, generator=generator) * dim**-0.5)
        self.register_buffer("counts", torch.zeros(size))
        self.register_buffer("sums", torch.zeros(size, dim))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def vectors(self) -> Tensor:
        """The codewords, (K, D); no gradients."""
        return self.weight

    def learn(self, x: Tensor, indices: Tensor) -> dict[str, Tensor]:
        """The commitment loss; in training mode the averages move, and every few steps words start anew."""
        losses = {
            "commitment": self.commitment * functional.mse_loss(x, functional.embedding(indices, self.weight))
        }
        if self.training and len(x):
            with torch.no_grad():
                self._update(x.detach(), indices)
        return losses

    @torch.no_grad()
    def assign(self, vectors: Tensor) -> None:
        """Set the codewords to a matrix (K, D) and forget the averages."""
        self.weight.copy_(checks.matrix(vectors, self.size, self.dim, "codewords"))
        self.counts.zero_()
        self.sums.zero_()

    def _update(self, x: Tensor, indices: Tensor) -> None:
        if not self.steps or not self.counts.any():  # the words at hand count as much as one batch
            self.counts.fill_(len(x) / self.size)
            self.sums.copy_(self.weight * self.counts[:, None])
        # New tensors, not in place: the graph of the commitment loss still holds the old words.
        sums = torch.zeros_like(self.sums).index_add_(0, indices, x)
        counts = torch.bincount(indices, minlength=self.size).to(x.dtype)
        self.counts = self.counts * self.decay + counts * (1 - self.decay)
        self.sums = self.sums * self.decay + sums * (1 - self.decay)
        prior = self.smoothing * self.counts.mean()
        smooth = (self.counts + prior).clamp_min(torch.finfo(x.dtype).tiny)
        self.weight = (self.sums + prior * self.weight) / smooth[:, None]
        self.steps = self.steps + 1
        if self.restart and int(self.steps) % self.every == 0:
            self._restart(x)

    def _restart(self, x: Tensor) -> None:
        mean = self.counts.mean()
        dead = (self.counts < self.restart * mean).nonzero()[:, 0]
        if len(dead) > len(x):  # the least used first
            dead = dead[self.counts[dead].argsort(stable=True)[: len(x)]]
        if not len(dead):
            return
        generator = torch.Generator().manual_seed((self.seed << 32) + int(self.steps))
        chosen = x[torch.randperm(len(x), generator=generator)[: len(dead)].to(x.device)]
        self.weight[dead] = chosen
        self.counts[dead] = mean
        self.sums[dead] = chosen * mean
