"""Quantizers beside each other: siglum's, faiss's and vector-quantize-pytorch's, each called as its users would."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglum.benchmarks.entropy_coders import Absent

Floats = NDArray[np.float32]
GROUPS = 2  # of group-residual quantizers
EMA_STEPS = 300
EMA_BATCH = 4096
EMA_DECAY = 0.9


@dataclass(frozen=True)
class Fitted:
    """A trained quantizer.

    Attributes
    ----------
    encode
        Vectors (N, D) -> whatever the quantizer makes of them.
    decode
        That -> vectors.
    codes
        That -> integers (N, S), of which usage is counted.
    """

    encode: Callable[[Floats], Any]
    decode: Callable[[Any], Floats]
    codes: Callable[[Any], NDArray[Any]]


Train = Callable[[Floats, int, int, int], Fitted]
"""Vectors (N, D), codes of a vector, bits of a code, seed -> a trained quantizer."""


@dataclass(frozen=True)
class Method:
    """A way to make a quantizer, with what tells it apart from others of its name."""

    name: str
    settings: str
    package: str
    train: Train


def methods() -> list[Method]:
    """Every quantizer of the benchmark; those of absent packages raise `Absent` when they are trained."""
    ema = f"k-means start, EMA, {EMA_STEPS} steps of {EMA_BATCH}"
    own = [
        Method("residual", "fit, greedy", "siglum", _fit("residual", 1)),
        Method("residual", "fit, beam 8", "siglum", _fit("residual", 8)),
        Method("residual", ema, "siglum", _learn("residual")),
        Method("group-residual", f"{GROUPS} groups, PCA, fit, beam 8", "siglum", _fit("group-residual", 8)),
        Method("group-residual", f"{GROUPS} groups, PCA, {ema}", "siglum", _learn("group-residual")),
        Method("product", "fit", "siglum", _fit("product", 1)),
        Method("product", "OPQ, fit", "siglum", _fit("product", 1, rotation="opq")),
        Method("additive", "fit, beam 8", "siglum", _fit("additive", 8)),
    ]
    faiss = [
        Method("PQ", "", "faiss-cpu", _faiss_pq(rotated=False)),
        Method("OPQ", "", "faiss-cpu", _faiss_pq(rotated=True)),
        Method("RQ", "beam 1", "faiss-cpu", _faiss_additive("ResidualQuantizer", 1)),
        Method("RQ", "beam 8", "faiss-cpu", _faiss_additive("ResidualQuantizer", 8)),
        Method("LSQ", "", "faiss-cpu", _faiss_additive("LocalSearchQuantizer", None)),
        Method("PRQ", f"{GROUPS} parts, beam 8", "faiss-cpu", _faiss_additive("ProductResidualQuantizer", 8)),
    ]
    torch = [
        Method("ResidualVQ", ema, "vector-quantize-pytorch", _torch("ResidualVQ")),
        Method(
            "GroupedResidualVQ",
            f"{GROUPS} groups, {ema}",
            "vector-quantize-pytorch",
            _torch("GroupedResidualVQ"),
        ),
    ]
    return [*own, *faiss, *torch]


def load(module: str, package: str) -> Any:
    """Import a module of a package that may be missing.

    Raises
    ------
    Absent
        It is.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = getattr(error, "name", None) or module
        raise Absent(f"not installed ({missing}): pip install {package}") from error


def _settings(name: str, dimension: int, count: int, bits: int) -> dict[str, Any]:
    """What siglum's structures of this many codes are made from."""
    settings: dict[str, Any] = {"name": name, "dim": dimension, "codewords": 1 << bits}
    if name == "group-residual":
        return settings | {"groups": GROUPS, "stages": count // GROUPS}
    return settings | {"groups" if name == "product" else "stages": count}


def _fit(name: str, beam: int, **more: Any) -> Train:
    """Siglum's structures, set from data without gradients."""

    def train(vectors: Floats, count: int, bits: int, seed: int) -> Fitted:
        torch = load("torch", "'siglum[train]'")
        quantizers = load("siglum.quantizers", "siglum")
        quantizer = quantizers.from_config(_settings(name, vectors.shape[1], count, bits) | more)
        torch.manual_seed(seed)
        quantizer.eval()
        quantizer.fit(torch.from_numpy(vectors), beam=beam)
        return _own_fitted(torch, quantizer, beam)

    return train


def _learn(name: str) -> Train:
    """Siglum's structures, learned from batches as within a network: codewords follow averages."""

    def train(vectors: Floats, count: int, bits: int, seed: int) -> Fitted:
        torch = load("torch", "'siglum[train]'")
        quantizers = load("siglum.quantizers", "siglum")
        settings = _settings(name, vectors.shape[1], count, bits)
        quantizer = quantizers.from_config(settings | {"codebook": {"kind": "ema", "decay": EMA_DECAY}})
        torch.manual_seed(seed)
        x = torch.from_numpy(vectors)
        quantizer.start(x)
        quantizer.train()
        with torch.no_grad():
            for _ in range(EMA_STEPS):
                quantizer(x[torch.randint(len(x), (EMA_BATCH,))])
        quantizer.eval()
        return _own_fitted(torch, quantizer, 1)

    return train


def _own_fitted(torch: Any, quantizer: Any, beam: int) -> Fitted:
    return Fitted(
        lambda x: quantizer.encode(torch.from_numpy(x), beam=beam),
        lambda codes: quantizer.decode(codes).detach().numpy(),
        lambda codes: codes.numpy(),
    )


def _faiss_pq(rotated: bool) -> Train:
    def train(vectors: Floats, count: int, bits: int, seed: int) -> Fitted:
        faiss = load("faiss", "faiss-cpu")
        dimension = vectors.shape[1]
        quantizer = faiss.ProductQuantizer(dimension, count, bits)
        _quiet(quantizer.cp, seed)
        if not rotated:
            quantizer.train(vectors)
            return _faiss_fitted(quantizer, count)
        rotation = faiss.OPQMatrix(dimension, count)
        inside = faiss.ProductQuantizer(dimension, count, bits)  # its settings are not what it leaves behind
        _quiet(inside.cp, seed)
        rotation.pq = inside
        rotation.train(vectors)
        quantizer.train(rotation.apply(vectors))
        inner = _faiss_fitted(quantizer, count)
        return Fitted(
            lambda x: inner.encode(rotation.apply(x)),
            lambda codes: rotation.reverse_transform(inner.decode(codes)),
            inner.codes,
        )

    return train


def _faiss_additive(name: str, beam: int | None) -> Train:
    def train(vectors: Floats, count: int, bits: int, seed: int) -> Fitted:
        faiss = load("faiss", "faiss-cpu")
        parts = (GROUPS, count // GROUPS) if name.startswith("Product") else (count,)
        quantizer = getattr(faiss, name)(vectors.shape[1], *parts, bits)
        stages = [quantizer]
        if len(parts) == 2:
            stages = [faiss.downcast_AdditiveQuantizer(quantizer.subquantizer(i)) for i in range(GROUPS)]
        for stage in stages:
            if beam is not None:
                stage.max_beam_size = beam
                _quiet(stage.cp, seed)
        quantizer.train(vectors)
        return _faiss_fitted(quantizer, count)

    return train


def _quiet(clustering: Any, seed: int) -> None:
    """Set the seed, and spare the terminal a warning for every k-means of few vectors."""
    clustering.seed = seed + 1234
    clustering.min_points_per_centroid = 1


def _faiss_fitted(quantizer: Any, count: int) -> Fitted:
    faiss = load("faiss", "faiss-cpu")
    bits = 8 * quantizer.code_size // count

    def codes(packed: NDArray[np.uint8]) -> NDArray[Any]:
        if bits == 8:
            return packed
        return np.stack([faiss.unpack_bitstrings(packed, count, bits)[:, i] for i in range(count)], 1)

    return Fitted(quantizer.compute_codes, quantizer.decode, codes)


def _torch(name: str) -> Train:
    def train(vectors: Floats, count: int, bits: int, seed: int) -> Fitted:
        torch = load("torch", "'siglum[train]'")
        library = load("vector_quantize_pytorch", "vector-quantize-pytorch")
        torch.manual_seed(seed)
        settings: dict[str, Any] = {
            "dim": vectors.shape[1],
            "codebook_size": 1 << bits,
            "num_quantizers": count,
        }
        if name.startswith("Grouped"):
            settings |= {"groups": GROUPS, "num_quantizers": count // GROUPS}
        quantizer = getattr(library, name)(
            **settings, kmeans_init=True, decay=EMA_DECAY, threshold_ema_dead_code=2
        )
        x = torch.from_numpy(vectors)
        quantizer.train()
        with torch.no_grad():
            for _ in range(EMA_STEPS):
                quantizer(x[torch.randint(len(x), (EMA_BATCH,))][None])
        quantizer.eval()

        def encode(some: Floats) -> Any:
            with torch.no_grad():
                return quantizer(torch.from_numpy(some)[None])[1]

        def codes(indices: Any) -> NDArray[Any]:
            grouped = indices if indices.ndim == 4 else indices[None]  # (groups, 1, N, stages)
            return np.concatenate([part[0].numpy() for part in grouped], 1)

        def decode(indices: Any) -> Floats:
            with torch.no_grad():
                return np.asarray(quantizer.get_output_from_indices(indices)[0].numpy())

        return Fitted(encode, decode, codes)

    return train


def usage_of(codes: NDArray[Any], bits: int) -> tuple[float, float]:
    """Share of codewords in use and perplexity, means over the codes (N, S)."""
    counts: Sequence[NDArray[Any]] = [
        np.bincount(column, minlength=1 << bits) for column in codes.T.astype(np.int64)
    ]
    shares = [count / count.sum() for count in counts]
    used = float(np.mean([(count > 0).mean() for count in counts]))
    entropies = [-(p[p > 0] * np.log2(p[p > 0])).sum() for p in shares]
    return used, float(np.mean(np.exp2(entropies)))
