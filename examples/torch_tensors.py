"""Torch tensors in, bytes out: a hyperprior whose second step has the tables that the first one names.

python examples/torch_tensors.py
"""

from __future__ import annotations

import time

import torch

from siglum.entropy import Tables, gaussian_tables, rans

SIDE = Tables.from_pmf([[1 / 64] * 64], offsets=[0], closed=True)  # of the hyperlatents: 64 equal values


def encode(side: torch.Tensor, latents: torch.Tensor) -> bytes:
    """One chunk of two steps: (C, h, w) uint8, 0 to 63, then (C, 2h, 2w) int16."""
    encoder = rans.Encoder()
    encoder.push(side, SIDE, 0)
    encoder.push(latents, gaussian_tables(), indexes_from(side))
    return encoder.finish()


def decode(data: bytes, shape: tuple[int, int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """The inverse of `encode`, for hyperlatents of a shape; tensors are filled in place."""
    decoder = rans.Decoder(data)
    side = torch.empty(shape, dtype=torch.uint8)
    decoder.decode(SIDE, 0, out=side)
    indexes = indexes_from(side)
    latents = torch.empty(indexes.shape, dtype=torch.int16)
    decoder.decode(gaussian_tables(), indexes, out=latents)
    decoder.finish()
    return side, latents


def indexes_from(side: torch.Tensor) -> torch.Tensor:
    """Which of the 64 Gaussians each latent has: here the nearest hyperlatent, in a codec an integer network."""
    return side.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2).contiguous()


def main() -> None:
    """Latents of a picture of 1024x1024 at 1/8."""
    generator = torch.Generator().manual_seed(0)
    side = torch.randint(0, 64, (64, 64, 64), dtype=torch.uint8, generator=generator)
    scales = torch.exp(torch.linspace(-2.2, 3.4, 64))[indexes_from(side).long()]
    latents = torch.round(torch.randn(scales.shape, generator=generator) * scales).to(torch.int16)

    forth, back = [], []
    for _ in range(10):
        start = time.perf_counter()
        data = encode(side, latents)
        middle = time.perf_counter()
        again = decode(data, (64, 64, 64))
        forth.append(middle - start)
        back.append(time.perf_counter() - middle)
    assert torch.equal(again[0], side) and torch.equal(again[1], latents)
    count = side.numel() + latents.numel()
    print(f"{count:,} symbols -> {len(data):,} bytes, {8 * len(data) / count:.3f} bits each")
    print(f"encode {count / 1e6 / min(forth):,.0f} Msym/s   decode {count / 1e6 / min(back):,.0f} Msym/s")
    print("decoded tensors:", *(f"{t.dtype} {tuple(t.shape)}" for t in again))


if __name__ == "__main__":
    main()
