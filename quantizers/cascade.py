"""Multi-scale cascade: a tile is coded from coarse to fine, each scale what the coarser ones left over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from siglum.quantizers import checks
from siglum.quantizers.base import Quantizer
from siglum.quantizers.codebook import Codebook, Spec, make_codebook
from siglum.quantizers.names import ESTIMATORS, QUANTIZERS
from siglum.quantizers.residual import layer_sizes

if TYPE_CHECKING:
    from siglum.quantizers.tables import Tables


@QUANTIZERS.register("cascade")
class CascadeQuantizer(Quantizer):
    """Square tiles of feature vectors, averaged over ever smaller squares (Zhu et al., McQuic, 2022).

    A vector is a tile of side x side positions with ``channels`` components each, row by row. At scale s the mean
    of every s x s square of what is left over is quantised, by one codebook for each group of channels, shared by
    all positions. Codes stand scale by scale, position by position, group by group; any number of them decodes.

    Parameters
    ----------
    side
        Positions along an edge of the tile.
    channels
        Components of a position, a multiple of ``groups``.
    scales
        Edges of the squares, each a divisor of ``side``, falling.
    groups
        Codebooks of each scale (McQuic's multi-codebook).
    codewords
        Codewords of a codebook, one number or one a scale.
    codebook, estimator
        As in `VectorQuantizer`.
    dropout
        Probability that a vector uses a random number of scales in training.

    Examples
    --------
    >>> import torch
    >>> x = torch.randn(500, 4, 4, 2, generator=torch.Generator().manual_seed(0)).cumsum(1).cumsum(2).flatten(1)
    >>> quantizer = CascadeQuantizer(side=4, channels=2, scales=(4, 2, 1), codewords=64)
    >>> quantizer.start(x)
    >>> codes = quantizer.encode(x)
    >>> codes.shape[1], quantizer.scale_codes
    (21, [1, 4, 16])
    >>> errors = [float((quantizer.decode(codes[:, :count]).detach() - x).square().mean()) for count in (1, 5, 21)]
    >>> errors == sorted(errors, reverse=True)
    True
    """

    name = "cascade"

    def __init__(
        self,
        side: int,
        channels: int,
        scales: Sequence[int] = (4, 2, 1),
        *,
        groups: int = 1,
        codewords: int | Sequence[int] = 1024,
        codebook: Spec = "gradient",
        estimator: str = "straight-through",
        dropout: float = 0.0,
    ) -> None:
        checks.integer(side, 1, None, "side")
        checks.integer(channels, 1, None, "channels")
        checks.integer(groups, 1, channels, "groups")
        scales = tuple(scales)
        if not scales or any(side % scale for scale in scales) or list(scales) != sorted(set(scales))[::-1]:
            raise ValueError(f"scales is {scales!r}, wanted falling divisors of the side {side}")
        if channels % groups:
            raise ValueError(f"channels is {channels}, wanted a multiple of the {groups} groups")
        if not 0 <= dropout <= 1:
            raise ValueError(f"dropout is {dropout!r}, wanted a probability from 0 to 1")
        settings = {
            "side": side,
            "channels": channels,
            "scales": list(scales),
            "groups": groups,
            "codewords": codewords if isinstance(codewords, int) else list(codewords),
            "codebook": codebook,
            "estimator": estimator,
            "dropout": dropout,
        }
        counts = layer_sizes(len(scales), codewords, "scales")
        self.scale_codes = [(side // scale) ** 2 * groups for scale in scales]
        sizes = tuple(
            size for size, codes in zip(counts, self.scale_codes, strict=True) for _ in range(codes)
        )
        super().__init__(side * side * channels, sizes, settings)
        self.side, self.channels, self.scales, self.groups = side, channels, scales, groups
        self.dropout, self._estimate = dropout, ESTIMATORS.find(estimator)
        width = channels // groups
        self.books = nn.ModuleList(
            make_codebook(codebook, size, width) for size in counts for _ in range(groups)
        )

    def codebooks(self, level: int) -> list[Codebook]:
        """The codebooks of a scale, one a group."""
        books = list(self.books)[level * self.groups : (level + 1) * self.groups]
        return [book for book in books if isinstance(book, Codebook)]

    def _pooled(self, x: Tensor, level: int) -> list[Tensor]:
        """Mean vectors of the squares of a scale, one (N * positions, width) a group."""
        scale = self.scales[level]
        grid = self.side // scale
        tiles = x.reshape(len(x), grid, scale, grid, scale, self.channels)
        means = tiles.sum((2, 4)).reshape(-1, self.channels) / scale**2
        return [part.contiguous() for part in means.chunk(self.groups, 1)]

    def _spread(self, values: Sequence[Tensor], level: int) -> Tensor:
        """The inverse: every vector of a scale at all positions of its square, (N, D)."""
        scale = self.scales[level]
        grid = self.side // scale
        joined = torch.cat(list(values), 1).reshape(-1, grid, 1, grid, 1, self.channels)
        return joined.expand(-1, grid, scale, grid, scale, self.channels).reshape(-1, self.dim)

    def _scale_values(self, codes: Tensor, level: int) -> Tensor:
        """What the codes (N, codes of the scale) of one scale add."""
        flat = codes.reshape(-1, self.groups)
        return self._spread(
            [book.vectors()[flat[:, g]] for g, book in enumerate(self.codebooks(level))], level
        )

    def _scale_encode(self, rest: Tensor, level: int) -> Tensor:
        pooled = zip(self.codebooks(level), self._pooled(rest, level), strict=True)
        return torch.stack([book.lookup(part) for book, part in pooled], 1).reshape(len(rest), -1)

    def _encode(self, x: Tensor, stages: int, beam: int) -> Tensor:
        """A beam of B does B - 1 sweeps in which each scale is coded again, given all others: never worse."""
        used = next(i + 1 for i in range(len(self.scales)) if sum(self.scale_codes[: i + 1]) >= stages)
        rest, codes = x, []
        for level in range(used):
            codes.append(self._scale_encode(rest, level))
            rest = rest - self._scale_values(codes[-1], level)
        greedy = torch.cat(codes, 1)[:, :stages]
        if beam == 1:
            return greedy
        for _ in range(beam - 1):
            for level in range(used):
                rest = rest + self._scale_values(codes[level], level)
                codes[level] = self._scale_encode(rest, level)
                rest = rest - self._scale_values(codes[level], level)
        found = torch.cat(codes, 1)[:, :stages]
        # A prefix that ends within a scale, and rounding, may make what was swept worse.
        errors = [(self._decode(each) - x).double().square().sum(1) for each in (greedy, found)]
        return torch.where((errors[1] < errors[0])[:, None], found, greedy)

    def _decode(self, codes: Tensor) -> Tensor:
        value = torch.zeros(len(codes), self.dim, device=codes.device)
        begin = 0
        for level, count in enumerate(self.scale_codes):
            part = codes[:, begin : begin + count]
            if part.shape[1] == count:
                value = value + self._scale_values(part, level)
            elif part.shape[1]:
                value = value + self._partial(part, level, count)
            begin += count
        return value

    def _partial(self, part: Tensor, level: int, count: int) -> Tensor:
        """What the first codes of a scale add: positions without a code get 0."""
        padded = nn.functional.pad(part, (0, count - part.shape[1])).reshape(-1, self.groups)
        known = torch.arange(count, device=part.device).expand(len(part), -1) < part.shape[1]
        known = known.reshape(-1, self.groups)
        books = enumerate(self.codebooks(level))
        return self._spread([book.vectors()[padded[:, g]] * known[:, g, None] for g, book in books], level)

    def _train(self, x: Tensor, share: int) -> tuple[Tensor, Tensor, dict[str, Tensor], Tensor | None]:
        with torch.no_grad():
            codes = self._encode(x, self.stages, 1)
        keep = self._kept(len(x), share, x.device)
        value, losses = torch.zeros(len(x), self.dim, device=x.device), dict[str, list[Tensor]]()
        for level, part in enumerate(codes.split(self.scale_codes, 1)):
            used = keep > level
            pooled = self._pooled(x - value.detach(), level)
            flat, taken = part.reshape(-1, self.groups), []
            rows = used.repeat_interleave(self.scale_codes[level] // self.groups)
            for g, (book, left) in enumerate(zip(self.codebooks(level), pooled, strict=True)):
                taken.append(book.take(left, flat[:, g]))
                if bool(rows.any()):
                    for name, loss in book.learn(left[rows], flat[rows, g]).items():
                        losses.setdefault(name, []).append(loss)
            added = self._spread(taken, level)
            value = value + (added if bool(used.all()) else added * used[:, None])
        counts = torch.tensor(self.scale_codes, device=x.device)
        level_of = torch.arange(len(counts), device=x.device).repeat_interleave(counts)
        means = {name: torch.stack(terms).mean() for name, terms in losses.items()}
        return self._estimate(x, value), codes, means, level_of < keep[:, None]

    def _kept(self, rows: int, share: int, device: torch.device) -> Tensor:
        """How many scales each vector uses, (N,)."""
        keep = torch.full((rows // share,), len(self.scales), device=device)
        if self.training and self.dropout:
            drawn = torch.randint(1, len(self.scales) + 1, keep.shape, device=device)
            keep = torch.where(torch.rand(keep.shape, device=device) < self.dropout, drawn, keep)
        return keep.repeat_interleave(share)

    def _start(self, x: Tensor) -> None:
        rest = x
        for level in range(len(self.scales)):
            for book, part in zip(self.codebooks(level), self._pooled(rest, level), strict=True):
                checks.enough(part, book.size)
                book.start(part)
            rest = rest - self._scale_values(self._scale_encode(rest, level), level)

    def export(self) -> Tables:
        """Plain tables of all scales."""
        from siglum.quantizers.tables_export import export_cascade

        return export_cascade(self)
