"""Lattice quantization: codewords are the points of a lattice in a finite region; found without a search."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from siglum.quantizers import checks, lookup
from siglum.quantizers.base import Quantizer
from siglum.quantizers.estimators import straight_through
from siglum.quantizers.lattice_points import DIMENSIONS, basis, nearest
from siglum.quantizers.names import QUANTIZERS

if TYPE_CHECKING:
    from siglum.quantizers.tables import Tables

_STEPS = 16  # of the bisection that pulls a vector into the region
_LARGEST = 2**16  # codewords of an exported table


@QUANTIZERS.register("lattice")
class LatticeQuantizer(Quantizer):
    """Voronoi codes on Z, D4 or E8, one for every block of 1, 4 or 8 components.

    The codewords are the ``radix^n`` lattice points in the Voronoi region of the lattice scaled by ``radix``
    (Conway and Sloane, A Fast Encoding Method for Lattice Codes and Quantizers, 1983); a code is a point's
    coordinates in a basis, modulo ``radix``. Inside the region the nearest codeword is exact and needs no search; a
    vector outside is searched for, or, if a block has more than 65,536 codewords, pulled towards the middle until it
    has one. log2(radix) bits a component. At high rate D4 saves 0.37 dB and E8
    0.65 dB against Z.

    Parameters
    ----------
    dim
        Components, a multiple of the lattice's 1, 4 or 8.
    lattice
        "Z", "D4" or "E8".
    radix
        Codewords per component of a block, 2 to 128.
    scale
        What a unit of the lattice is worth; `start` chooses it from data.
    learned
        Whether the logarithm of the scale is a parameter.

    Examples
    --------
    >>> import torch
    >>> x = torch.randn(2000, 8, generator=torch.Generator().manual_seed(0))
    >>> errors = {}
    >>> for lattice in ("Z", "E8"):
    ...     quantizer = LatticeQuantizer(8, lattice, radix=8)
    ...     quantizer.start(x)
    ...     errors[lattice] = float((quantizer.decode(quantizer.encode(x)).detach() - x).square().mean())
    >>> errors["E8"] < 0.8 * errors["Z"]
    True
    """

    name = "lattice"

    log_scale: Tensor

    def __init__(
        self,
        dim: int,
        lattice: str = "E8",
        radix: int = 4,
        *,
        scale: float = 1.0,
        learned: bool = False,
    ) -> None:
        if lattice not in DIMENSIONS:
            raise ValueError(f"lattice is {lattice!r}, wanted one of {', '.join(DIMENSIONS)}")
        if not 0 < scale < float("inf"):
            raise ValueError(f"scale is {scale!r}, wanted a positive number")
        self.lattice, self.radix = lattice, checks.integer(radix, 2, 128, "radix")
        self.block = DIMENSIONS[lattice]
        checks.integer(dim, 1, None, "dim")
        if dim % self.block:
            raise ValueError(f"dim is {dim}, wanted a multiple of {self.block} for {lattice}")
        settings = {"dim": dim, "lattice": lattice, "radix": radix, "scale": scale, "learned": learned}
        super().__init__(dim, (radix**self.block,) * (dim // self.block), settings)
        log = torch.tensor(scale).log()
        if learned:
            self.log_scale = nn.Parameter(log)
        else:
            self.register_buffer("log_scale", log)

    @property
    def scale(self) -> Tensor:
        """What a unit of the lattice is worth."""
        return self.log_scale.exp()

    def _code(self, x: Tensor) -> Tensor:
        """Codes of blocks in units of the lattice, float32 (N, n) -> (N,)."""
        x = x.double()
        generator = basis(self.lattice).to(x.device)
        point = nearest(x, self.lattice)
        code = self._number(point, generator)
        outside = (self._point(code, generator) != point).any(1)
        if bool(outside.any()):
            code[outside] = self._outer(x[outside], generator)
        return code

    def _outer(self, x: Tensor, generator: Tensor) -> Tensor:
        """Codes of vectors outside of the region: by search, or in a large codebook of a copy that is inside."""
        if self.sizes[0] > _LARGEST:
            return self._number(self._pulled(x, generator), generator)
        everything = torch.arange(self.sizes[0], device=x.device)
        return lookup.search(x.float(), self._point(everything, generator).float())

    def _pulled(self, x: Tensor, generator: Tensor) -> Tensor:
        """Codewords of vectors outside of the region: those of the least shrunk copies that have one."""
        low, high = torch.zeros(len(x), 1).to(x), torch.ones(len(x), 1).to(x)
        best = torch.zeros_like(x)
        for _ in range(_STEPS):
            middle = (low + high) / 2
            point = nearest(x * middle, self.lattice)
            inside = (self._point(self._number(point, generator), generator) == point).all(1, keepdim=True)
            best = torch.where(inside, point, best)
            low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
        return best

    def _number(self, point: Tensor, generator: Tensor) -> Tensor:
        digits = (point @ generator.inverse()).round().long() % self.radix
        weights = torch.tensor([self.radix**i for i in range(self.block)], device=point.device)
        return (digits * weights).sum(1)

    def _point(self, code: Tensor, generator: Tensor) -> Tensor:
        weights = torch.tensor([self.radix**i for i in range(self.block)], device=code.device)
        digits = code[:, None].div(weights, rounding_mode="floor") % self.radix
        point = digits.double() @ generator
        # A shift off every wall of the region decides ties on it the same way for all codes.
        shift = 1e-6 * torch.arange(1, self.block + 1, device=code.device).double().sqrt()
        return point - self.radix * nearest((point - shift) / self.radix, self.lattice)

    def _encode(self, x: Tensor, stages: int, beam: int) -> Tensor:
        blocks = (x[:, : stages * self.block] / self.scale.detach()).reshape(-1, self.block)
        return self._code(blocks).reshape(len(x), stages)

    def _decode(self, codes: Tensor) -> Tensor:
        points = self._point(codes.reshape(-1), basis(self.lattice).to(codes.device))
        known = points.float().reshape(len(codes), -1) * self.scale
        return nn.functional.pad(known, (0, self.dim - known.shape[1]))

    def _train(self, x: Tensor, share: int) -> tuple[Tensor, Tensor, dict[str, Tensor], None]:
        with torch.no_grad():
            codes = self._encode(x, self.stages, 1)
        values = self._decode(codes)
        result = straight_through(x, values)
        # The scale learns from the error itself, which is an average over points: a reconstruction loss.
        losses = {"scale": (values - x.detach()).square().mean()} if self.scale.requires_grad else {}
        return result, codes, losses, None

    def _start(self, x: Tensor) -> None:
        """Choose the scale with the least squared error on at most 1024 vectors."""
        sample = x[:: -(-len(x) // 1024)]
        spread = sample.square().mean().sqrt().clamp(min=1e-12)
        scales = spread * torch.logspace(0.7, -1, 25, device=x.device) / self.radix**0.5
        errors = []
        for scale in scales:
            self.log_scale.data.copy_(scale.log())
            errors.append((self._decode(self._encode(sample, self.stages, 1)) - sample).square().mean())
        self.log_scale.data.copy_(scales[torch.stack(errors).argmin()].log())

    def export(self) -> Tables:
        """A table of all codewords.

        Raises
        ------
        ValueError
            If there are more than 65,536 a block.
        """
        from siglum.quantizers.tables_export import export_blocks

        if self.sizes[0] > _LARGEST:
            raise ValueError(f"a table of {self.sizes[0]} codewords a block, wanted at most {_LARGEST}")
        points = self._point(torch.arange(self.sizes[0]), basis(self.lattice))
        return export_blocks(points.float() * self.scale.detach().cpu(), self.stages)
