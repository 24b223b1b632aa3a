"""Frequencies of codes as a prior, each stage given the class of the code before it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from siglum.entropy.adaptive import INCREMENT, Adaptive
from siglum.entropy.categorical import Categorical
from siglum.entropy.models import Model
from siglum.entropy.tables import MAX_ENTRIES
from siglum.quantizers import checks
from siglum.quantizers.kmeans import kmeans
from siglum.quantizers.lookup import search
from siglum.quantizers.priors.coding import FrequencyCoder


class FrequencyPrior(nn.Module):
    """A distribution of each stage's codes for every class of the code of the stage before.

    Parameters
    ----------
    sizes
        Codewords of each stage.
    books : sequence of float (K_s, D_s), optional
        Codewords: those near each other get a class. Without them there are no contexts.
    classes
        Of each stage, at most 256.
    seed
        Of the clustering.

    Attributes
    ----------
    logits : parameters (classes, K_s)

    Raises
    ------
    ValueError
        If sizes and codebooks do not fit, or a number is out of range.

    Examples
    --------
    >>> codes = torch.randint(16, (4000, 2), generator=torch.Generator().manual_seed(0)) // 3
    >>> prior = FrequencyPrior([16, 16])
    >>> prior.start(codes)
    >>> coder = prior.export()
    >>> data = coder.encode(codes.numpy())
    >>> bool((coder.decode(data, codes.shape) == codes.numpy()).all())
    True
    >>> abs(8 * len(data) / float(prior.bits(codes).detach().sum()) - 1) < 0.01
    True
    """

    def __init__(
        self,
        sizes: Sequence[int],
        books: Sequence[Tensor] | None = None,
        *,
        classes: int = 16,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not sizes:
            raise ValueError("sizes is empty, wanted at least one stage")
        self.sizes = tuple(checks.integer(size, 2, 2**16, "sizes") for size in sizes)
        checks.integer(classes, 1, 256, "classes")
        if books is not None and tuple(len(book) for book in books) != self.sizes:
            raise ValueError(
                f"books has {[len(book) for book in books]} codewords, wanted {list(self.sizes)}"
            )
        contexts = 1
        self.logits = nn.ParameterList()
        for s, size in enumerate(self.sizes):
            self.logits.append(nn.Parameter(torch.zeros(contexts, size)))
            contexts = 1 if books is None else min(classes, size)
            of = torch.zeros(size, dtype=torch.int64)
            if books is not None and contexts > 1:
                book = books[s].detach().float()
                of = search(book, kmeans(book, contexts, seed=seed))
            self.register_buffer(f"classes{s}", of)

    @torch.no_grad()
    def start(self, codes: Tensor) -> None:
        """Set the distributions to the frequencies in codes (..., S)."""
        codes = checks.codes(codes, self.sizes).reshape(-1, codes.shape[-1])
        for s in range(codes.shape[1]):
            logits = self.logits[s]
            contexts, size = logits.shape
            which = self._context(codes, s) * size + codes[:, s]
            counts = torch.bincount(which, minlength=contexts * size).view(contexts, size).double()
            overall = counts.sum(0) + 0.5
            # A class that was hardly seen leans on the frequencies of all, as if 32 more codes had them.
            logits.copy_((counts + 32 * overall / overall.sum()).log().log_softmax(-1))

    def bits(self, codes: Tensor) -> Tensor:
        """Bits of each code, (..., S') -> (..., S'), differentiable in the logits.

        Raises
        ------
        ValueError
            If codes are out of range.
        """
        codes = checks.codes(codes, self.sizes)
        flat = codes.reshape(-1, codes.shape[-1])
        bits = []
        for s in range(flat.shape[1]):
            logs = self.logits[s].log_softmax(-1) / -float(np.log(2.0))
            bits.append(logs[self._context(flat, s), flat[:, s]])
        return torch.stack(bits, -1).reshape(codes.shape)

    @torch.no_grad()
    def export(self, *, strength: int = 4096) -> FrequencyCoder:
        """The integer model: adaptive counts for up to 255 codewords, fixed frequencies for more.

        Parameters
        ----------
        strength
            Occurrences that a context's distribution is worth when its counts begin to adapt.

        Raises
        ------
        ValueError
            If the strength is below 1.
        """
        checks.integer(strength, 1, 2**20, "strength")
        models: list[Model] = []
        for logits, size in zip(self.logits, self.sizes, strict=True):
            p = logits.double().softmax(-1).cpu().numpy()
            if size < MAX_ENTRIES:
                models.append(Adaptive(1 + np.rint(p * strength * INCREMENT).astype(np.int64)))
            else:
                models.append(Categorical.from_probabilities(p))
        classes = [self.get_buffer(f"classes{s}").cpu().numpy() for s in range(len(self.sizes) - 1)]
        return FrequencyCoder(self.sizes, models, classes)

    def _context(self, codes: Tensor, stage: int) -> Tensor:
        if stage == 0:
            return torch.zeros(len(codes), dtype=torch.int64, device=codes.device)
        return self.get_buffer(f"classes{stage - 1}")[codes[:, stage - 1]]
