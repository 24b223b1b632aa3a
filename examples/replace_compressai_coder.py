"""Swap the entropy coder of a CompressAI model: the same strings, several times as fast, errors for crashes.

pip install compressai        # optional: without it a stand-in of its GaussianConditional is used
python examples/replace_compressai_coder.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from siglum.entropy.compat import compressai as fast
from siglum.entropy.precise_tables import PreciseTables
from siglum.errors import BitstreamError

SCALES = np.exp(np.linspace(np.log(0.11), np.log(64), 64))


def swap_coder(model: torch.nn.Module) -> None:
    """The five lines: every entropy model in `model` codes with siglum from now on."""
    for part in model.modules():
        if hasattr(part, "entropy_coder"):
            part.entropy_coder._encoder = fast.RansEncoder()
            part.entropy_coder._decoder = fast.RansDecoder()


class StandIn(torch.nn.Module):
    """What matters of CompressAI's GaussianConditional: tables as buffers, symbols to and from Python lists."""

    class Coder:
        """Holds the two halves, as theirs does."""

        _encoder: Any = fast.RansEncoder()
        _decoder: Any = fast.RansDecoder()

    def __init__(self, scales: np.ndarray) -> None:
        super().__init__()
        self.entropy_coder = self.Coder()
        widths = np.ceil(6.1 * scales).astype(int)
        pmfs = [np.exp(-0.5 * (np.arange(-w, w + 1) / s) ** 2) for w, s in zip(widths, scales, strict=True)]
        tables = PreciseTables.from_pmf([p / p.sum() for p in pmfs], -widths, precision=16)
        rows = [np.concatenate([[0], np.cumsum(f.astype(np.int64))]) for f in tables.frequencies]
        lengths = [len(row) for row in rows]
        cdf = np.zeros((len(rows), max(lengths)), dtype=np.int32)
        for row, line in zip(rows, cdf, strict=True):
            line[: len(row)] = row
        self.register_buffer("_quantized_cdf", torch.from_numpy(cdf))
        self.register_buffer("_cdf_length", torch.tensor(lengths, dtype=torch.int32))
        self.register_buffer("_offset", torch.from_numpy(tables.offsets.copy()))

    def tables(self) -> tuple[Any, Any, Any]:
        """As lists, which is how CompressAI hands them to its coder."""
        return self._quantized_cdf.tolist(), self._cdf_length.tolist(), self._offset.tolist()

    def compress(self, latents: torch.Tensor, indexes: torch.Tensor) -> list[bytes]:
        """A string for each picture of the batch."""
        return [
            self.entropy_coder._encoder.encode_with_indexes(
                y.round().reshape(-1).int().tolist(), i.reshape(-1).int().tolist(), *self.tables()
            )
            for y, i in zip(latents, indexes, strict=True)
        ]

    def decompress(self, strings: list[bytes], indexes: torch.Tensor) -> torch.Tensor:
        """The inverse of `compress`."""
        decoded = [
            self.entropy_coder._decoder.decode_with_indexes(s, i.reshape(-1).int().tolist(), *self.tables())
            for s, i in zip(strings, indexes, strict=True)
        ]
        return torch.tensor(decoded, dtype=torch.float32).reshape(indexes.shape)


def gaussian_conditional() -> tuple[Any, bool]:
    """Theirs, where it can be imported."""
    try:
        from compressai.entropy_models import GaussianConditional
    except ImportError:
        return StandIn(SCALES), False
    model = GaussianConditional(SCALES.tolist())
    model.update()
    return model, True


def best(work: Callable[[], Any]) -> tuple[float, Any]:
    """Least of 3 times in seconds, and the result."""
    times = []
    for _ in range(3):
        start = time.thread_time()
        result = work()
        times.append(time.thread_time() - start)
    return min(times), result


def measure(model: Any, latents: torch.Tensor, indexes: torch.Tensor, name: str) -> list[bytes]:
    """Code a batch both ways; print size and speed, for the model and for the coder in it."""
    forth, strings = best(lambda: model.compress(latents, indexes))
    back, decoded = best(lambda: model.decompress(strings, indexes))
    assert torch.equal(decoded, latents)
    million = latents.numel() / 1e6
    speeds = f"compress {million / forth:5.1f} Msym/s, decompress {million / back:5.1f} Msym/s"
    print(f"{name:10} {sum(map(len, strings)):9,} bytes   model: {speeds}")

    tables = [x.tolist() for x in (model._quantized_cdf, model._cdf_length, model._offset)]
    symbols, which = latents[0].reshape(-1).int().tolist(), indexes[0].reshape(-1).int().tolist()
    million = len(symbols) / 1e6
    forth, string = best(lambda: model.entropy_coder._encoder.encode_with_indexes(symbols, which, *tables))
    back, _ = best(lambda: model.entropy_coder._decoder.decode_with_indexes(string, which, *tables))
    print(
        f"{'':27}   coder: encode {million / forth:7.1f} Msym/s, decode {million / back:9.1f} Msym/s (lists)"
    )
    return strings


def main() -> None:
    """Latents of two pictures of 768x512 at 1/16, 192 channels."""
    generator = torch.Generator().manual_seed(0)
    indexes = torch.randint(0, 64, (2, 192, 32, 48), generator=generator)
    scales = torch.tensor(SCALES, dtype=torch.float32)[indexes]
    latents = torch.round(torch.randn(scales.shape, generator=generator) * scales) + 0.0

    model, theirs = gaussian_conditional()
    before = measure(model, latents, indexes, "compressai") if theirs else None
    swap_coder(model)
    strings = measure(model, latents, indexes, "siglum")
    if before is not None:
        print("the same strings:", strings == before)
    else:
        print("compressai is not installed: this was a stand-in of its GaussianConditional")
    try:
        model.decompress([strings[0][:1000], strings[1]], indexes)
    except BitstreamError as error:
        print("a string cut off:", error)


if __name__ == "__main__":
    main()
