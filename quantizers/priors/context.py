"""A conditional prior: every codeword's probability from the codes that are already decoded."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from siglum.entropy.codebook_fit import UNIT
from siglum.quantizers import checks
from siglum.quantizers.priors.coding import FRACTION, ContextCoder, Source
from siglum.quantizers.priors.gaussian import OCTAVE, CodewordGaussian


class ContextPrior(nn.Module):
    """Gaussians over the codewords, predicted from earlier stages and earlier vectors.

    Stage s of vector t has mean and log-scales that are sums: a base, and for each earlier stage of the same vector
    and each stage of the vectors ``lags`` before what a small perceptron makes of that code's word. A sum of
    functions of single codes is a sum of table entries once it is trained (`export`), so the decoder's probabilities
    are exact integers, whatever the perceptrons did (docs/codebooks.md).

    Parameters
    ----------
    books : sequence of float (K_s, D_s)
        Codewords of each stage, taken as fixed.
    lags
        How many vectors back contexts are, along the last but one axis of the codes; none: the vectors of a stage
        are independent of each other.
    hidden
        Width of the perceptrons.

    Raises
    ------
    ValueError
        If there are no codebooks, one is no matrix, or a lag is below 1.

    Examples
    --------
    >>> book = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    >>> codes = torch.randint(64, (1, 500, 1), generator=torch.Generator().manual_seed(0))
    >>> prior = ContextPrior([book])
    >>> prior.start(codes)
    >>> coder = prior.export()
    >>> data = coder.encode(codes.numpy())
    >>> bool((coder.decode(data, codes.shape) == codes.numpy()).all())
    True
    >>> abs(8 * len(data) / float(prior.bits(codes).detach().sum()) - 1) < 0.02
    True
    """

    def __init__(self, books: Sequence[Tensor], *, lags: Sequence[int] = (1,), hidden: int = 64) -> None:
        super().__init__()
        if not books:
            raise ValueError("books is empty, wanted at least one codebook")
        self.lags = tuple(checks.integer(lag, 1, None, "lags") for lag in lags)
        checks.integer(hidden, 1, None, "hidden")
        self.words = nn.ModuleList(CodewordGaussian(book) for book in books)
        self.sizes = tuple(len(book) for book in books)
        stages = range(len(books))
        self._places = [
            [(0, j) for j in range(s)] + [(lag, j) for lag in self.lags for j in stages] for s in stages
        ]
        self.bases = nn.ParameterList()
        self.nets = nn.ModuleList()
        for s, places in enumerate(self._places):
            points = self._points(s)
            spread = points.std(0, correction=0).clamp_min(1)
            self.register_buffer(f"spread{s}", spread)
            self.bases.append(nn.Parameter(torch.cat([points.mean(0) / spread, torch.log2(spread / UNIT)])))
            widths = [self._points(j).shape[1] for _, j in places]
            self.nets.append(nn.ModuleList(_perceptron(width, hidden, 2 * len(spread)) for width in widths))

    @torch.no_grad()
    def start(self, codes: Tensor) -> None:
        """Set bases and weights from codes (..., S), so that the prior begins as the frequencies of the codes."""
        codes = checks.codes(codes, self.sizes).reshape(-1, codes.shape[-1])
        for s in range(codes.shape[1]):
            words, points = self._word(s), self._points(s)
            used = points[codes[:, s]]
            sigma = used.std(0, correction=0).clamp_min(UNIT)
            scale = (OCTAVE * torch.log2(sigma / UNIT)).round()
            mean = used.mean(0).round()
            self.bases[s].copy_(torch.cat([mean, scale]) / self._unit(s))
            counts = torch.bincount(codes[:, s], minlength=len(points)).double() + 0.5
            energy = ((points - mean) / (UNIT * torch.exp2(scale / OCTAVE))).square().sum(-1) / 2
            words.logs.copy_(counts.log() + energy)
            words.logs.sub_(words.logs.max())

    def bits(self, codes: Tensor) -> Tensor:
        """Bits of each code, (..., S') -> (..., S'), differentiable in all parameters.

        Codes of vectors before the first one, and of stages that are not there, add nothing.

        Raises
        ------
        ValueError
            If codes are out of range, or without an axis of positions where there are lags.
        """
        codes = checks.codes(codes, self.sizes)
        if self.lags and codes.ndim < 2:
            raise ValueError(f"codes has shape {checks.shape_of(codes)}, wanted (..., positions, stages)")
        positions = codes.shape[-2] if self.lags else 1
        view = codes.reshape(-1, positions, codes.shape[-1])
        bits = []
        for s in range(view.shape[2]):
            sums = (self.bases[s] * self._unit(s)).expand(*view.shape[:2], -1)
            for (lag, j), table in zip(self._places[s], self._tables(s), strict=True):
                if j < view.shape[2] and lag < positions:
                    added = table[view[:, : positions - lag, j]]
                    sums = sums + nn.functional.pad(added, (0, 0, lag, 0))
            mean, scale = sums.flatten(0, 1).chunk(2, dim=-1)
            bits.append(self._word(s).bits(view[..., s].reshape(-1), mean, scale))
        return torch.stack(bits, -1).reshape(codes.shape)

    @torch.no_grad()
    def export(self) -> ContextCoder:
        """The integer model: tables of what each code adds."""
        sources = [
            [
                Source(lag, j, (table * 2**FRACTION).round().long().cpu().numpy())
                for (lag, j), table in zip(self._places[s], self._tables(s), strict=True)
            ]
            for s in range(len(self.sizes))
        ]
        bases = [
            (base * self._unit(s) * 2**FRACTION).round().long().cpu().numpy()
            for s, base in enumerate(self.bases)
        ]
        return ContextCoder([self._word(s).integer() for s in range(len(self.sizes))], bases, sources)

    def _tables(self, stage: int) -> list[Tensor]:
        """What every code of each place adds: (K, 2 D) of means in grid units and scale numbers."""
        unit = self._unit(stage)
        nets = self.nets[stage]
        assert isinstance(nets, nn.ModuleList)
        tables = []
        for (_, j), net in zip(self._places[stage], nets, strict=True):
            points = self._points(j)
            near = (points / points.std().clamp_min(1)).float()
            tables.append(net(near).double() * unit)
        return tables

    def _unit(self, stage: int) -> Tensor:
        """What 1 stands for in bases and perceptrons: the words' deviation, and an octave."""
        spread = self.get_buffer(f"spread{stage}")
        return torch.cat([spread, torch.full_like(spread, OCTAVE)])

    def _word(self, stage: int) -> CodewordGaussian:
        words = self.words[stage]
        assert isinstance(words, CodewordGaussian)
        return words

    def _points(self, stage: int) -> Tensor:
        return self._word(stage).points


def _perceptron(width: int, hidden: int, out: int) -> nn.Sequential:
    last = nn.Linear(hidden, out)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), last)
