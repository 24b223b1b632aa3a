"""Ways to find the nearest codeword, for ``codec bench quantizers``; all of them on one thread."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from siglum.benchmarks.quantizer_methods import Floats, load

CHUNK = 4096  # vectors whose distances a matrix holds

Call = Callable[[], Any]


@dataclass(frozen=True)
class Search:
    """A way to search: ``prepare(x, codewords)`` returns a call that gives the indices."""

    name: str
    settings: str
    package: str
    prepare: Callable[[Floats, Floats], Call]


def searches() -> list[Search]:
    """Siglum's first, which the others are compared with."""
    return [
        Search("siglum", "kernels.nearest.search, packed", "siglum", _own),
        Search("faiss", "IndexFlatL2", "faiss-cpu", _flat),
        Search("torch", f"cdist + argmin, {CHUNK} at a time", "torch", _cdist),
        Search("torch", "addmm + argmin, 256 at a time", "torch", _addmm),
    ]


def one_thread() -> None:
    """Let the libraries that are there use a single thread each."""
    for module, function in (("faiss", "omp_set_num_threads"), ("torch", "set_num_threads")):
        try:
            getattr(importlib.import_module(module), function)(1)
        except ImportError:
            continue


def _own(x: Floats, codewords: Floats) -> Call:
    from siglum.kernels import nearest

    packed = nearest.Packed(codewords)
    return lambda: nearest.search(x, packed, threads=1)


def _flat(x: Floats, codewords: Floats) -> Call:
    index = load("faiss", "faiss-cpu").IndexFlatL2(codewords.shape[1])
    index.add(codewords)
    return lambda: index.search(x, 1)[1][:, 0]


def _cdist(x: Floats, codewords: Floats) -> Call:
    torch = load("torch", "'siglum[train]'")
    vectors, codebook = torch.from_numpy(x), torch.from_numpy(codewords)
    return lambda: torch.cat([torch.cdist(part, codebook).argmin(1) for part in vectors.split(CHUNK)]).numpy()


def _addmm(x: Floats, codewords: Floats) -> Call:
    torch = load("torch", "'siglum[train]'")
    vectors, codebook = torch.from_numpy(x), torch.from_numpy(codewords)
    half, turned = codebook.square().sum(1) / 2, codebook.T.contiguous()

    def call() -> Any:
        parts = vectors.split(256)
        return torch.cat([torch.addmm(half, part, turned, alpha=-1).argmin(1) for part in parts]).numpy()

    return call
