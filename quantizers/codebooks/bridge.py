"""A network that makes all codewords from all parameters while training, and is thrown away afterwards."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from siglum.quantizers import checks
from siglum.quantizers.codebook import Codebook
from siglum.quantizers.names import CODEBOOKS


@CODEBOOKS.register("bridge")
class VQBridge(Codebook):
    """Codewords ``E + bridge(E)``: compress groups of words to tokens, process them, recover words (FVQ's VQBridge).

    Chang et al., Scalable Training for Vector-Quantized Networks with 100% Codebook Utilization, arXiv 2509.10140.
    A group of words is a token; transformer blocks mix the tokens, so the gradient of a used word moves all. A group
    is consecutive words: what the paper calls a patch of a square of codewords is the same up to the numbering. The
    last layer begins at zero and there is a residual connection, so the words begin as E (without it all words would
    begin alike). The cost of a step does not depend on the batch: K / group tokens through ``depth`` blocks.

    Losses: ``codebook = |sg(x) - c|^2`` and ``commitment = weight |x - sg(c)|^2``, means over vectors and components.
    Anneal the learning rate to zero: usage stays while it falls.

    Parameters
    ----------
    size, dim
        K and D.
    commitment
        Weight of the commitment loss.
    group
        Words of a token; must divide K.
    width
        Of a token, a multiple of the heads.
    depth, heads
        Transformer blocks and their heads.
    seed
        Of the parameters.

    Raises
    ------
    ValueError
        If a setting is out of range.
    """

    kind = "bridge"
    scale: Tensor

    def __init__(
        self,
        size: int,
        dim: int,
        commitment: float = 0.25,
        group: int = 16,
        width: int = 256,
        depth: int = 2,
        heads: int = 4,
        seed: int = 0,
    ) -> None:
        super().__init__(
            size,
            dim,
            commitment=commitment,
            group=group,
            width=width,
            depth=depth,
            heads=heads,
            seed=seed,
        )
        self.group = checks.integer(group, 1, None, "group")
        checks.integer(heads, 1, None, "heads")
        checks.integer(width, 1, None, "width")
        if size % group:
            raise ValueError(f"group is {group}, wanted a divisor of the {size} codewords")
        if width % heads:
            raise ValueError(f"width is {width}, wanted a multiple of the {heads} heads")
        self.commitment = commitment
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(checks.integer(seed, 0, 2**31, "seed"))
            self.weight = nn.Parameter(torch.randn(size, dim) * dim**-0.5)
            self.compress = nn.Linear(group * dim, width)
            blocks = [_Block(width, heads) for _ in range(checks.integer(depth, 1, None, "depth"))]
            self.process = nn.Sequential(*blocks, nn.LayerNorm(width))
            self.recover = nn.Linear(width, group * dim)
        nn.init.zeros_(self.recover.weight)
        nn.init.zeros_(self.recover.bias)
        self.register_buffer("scale", torch.ones(()))
        self._made: tuple[Any, Tensor] | None = None

    def vectors(self) -> Tensor:
        """The words that come out of the bridge, (K, D); in training made once between two steps of an optimiser."""
        if self._made is not None:
            key, made = self._made
            if key == self._key():
                return made if torch.is_grad_enabled() else made.detach()
        tokens = (self.weight / self.scale).reshape(-1, self.group * self.dim)
        moved = self.recover(self.process(self.compress(tokens)[None])[0])
        made = self.weight + self.scale * moved.reshape(self.size, self.dim)
        self._made = None
        if self.training and made.requires_grad:
            made.register_hook(self._forget)  # its graph is gone after a backward pass
            self._made = (self._key(), made)
        return made

    def train(self, mode: bool = True) -> VQBridge:
        """Set the mode; what was made is made again."""
        self._made = None
        return super().train(mode)

    @torch.no_grad()
    def lookup(self, x: Tensor) -> Tensor:
        """As every codebook; in training the words are made with their graph, for `take` to use."""
        with torch.set_grad_enabled(self.training):
            self.vectors()
        return super().lookup(x)

    def learn(self, x: Tensor, indices: Tensor) -> dict[str, Tensor]:
        """The codebook's loss and the commitment's."""
        values = functional.embedding(indices, self.vectors())
        return {
            "codebook": functional.mse_loss(values, x.detach()),
            "commitment": self.commitment * functional.mse_loss(x, values.detach()),
        }

    @torch.no_grad()
    def start(self, x: Tensor) -> None:
        """Put E on vectors drawn from (N, D), neighbours in a group; the bridge works in units of their deviation.

        Raises
        ------
        ValueError
            If there are fewer vectors than codewords.
        """
        checks.enough(x, self.size)
        chosen = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[: self.size].to(x.device)
        self.assign(x[chosen])

    @torch.no_grad()
    def assign(self, vectors: Tensor) -> None:
        """Set E to a matrix (K, D) and the bridge to nothing, so that these are the codewords."""
        vectors = checks.matrix(vectors, self.size, self.dim, "codewords")
        self.weight.copy_(vectors)
        self.scale.fill_(float(vectors.std().clamp_min(1e-12)))
        nn.init.zeros_(self.recover.weight)
        nn.init.zeros_(self.recover.bias)

    def _key(self) -> tuple[tuple[int, int], ...]:
        return tuple((tensor.data_ptr(), tensor._version) for tensor in (*self.parameters(), *self.buffers()))

    def _forget(self, gradient: Tensor) -> None:
        self._made = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": None}  # a tensor with a graph can be neither copied nor pickled


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.enter = nn.LayerNorm(width)
        self.mix = nn.Linear(width, 3 * width)
        self.leave = nn.Linear(width, width)
        self.think = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        q, k, v = (
            part.view(batch, tokens, self.heads, -1).transpose(1, 2)
            for part in self.mix(self.enter(x)).chunk(3, dim=-1)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v)
        x = x + self.leave(mixed.transpose(1, 2).reshape(batch, tokens, width))
        return x + self.think(x)
