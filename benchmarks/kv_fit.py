"""What rivals are fitted to: caches of a calibration set, and the energy of queries there; kept on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from siglum.benchmarks.kv_documents import Document
from siglum.benchmarks.kv_model import Model
from siglum.codecs.kv.baselines import BASELINES
from siglum.codecs.kv.baselines.frame import MODULES
from siglum.codecs.kv.cache import KVCache
from siglum.errors import UsageError

QUERY_DOCUMENTS = 6


def fits(
    names: Sequence[str], documents: Sequence[Document], model: Model | None, keep: Path
) -> dict[str, dict[str, NDArray[Any]]]:
    """What the rivals of these names that need it are fitted to; read where it is kept already.

    Parameters
    ----------
    documents
        Of the calibration set.
    model
        For the queries, unless they are kept.
    keep
        Folder.
    """
    digest = sha256("".join(document.sha256 for document in documents).encode()).hexdigest()[:12]
    keep.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[str, NDArray[Any]]] = {}
    if any(name.startswith("evict:") for name in names):
        found["queries"] = _queries(documents, model, keep, digest)
    for name in [name.removeprefix("evict:").partition("@")[0] for name in names]:
        if name not in MODULES or not getattr(BASELINES.find(name), "needs_fit", False):
            continue
        path = keep / f"{name}-{digest}.safetensors"
        if not path.exists():
            module = import_module(f"siglum.codecs.kv.baselines.{MODULES[name]}")
            fitted = module.fit(_caches(documents, model), _queries(documents, model, keep, digest))
            save_file({key: np.ascontiguousarray(value) for key, value in fitted.items()}, path)
        found[name] = load_file(path)
    return found


def _caches(documents: Sequence[Document], model: Model | None) -> Iterator[KVCache]:
    for document in documents:
        yield document.cache(model)


def _queries(
    documents: Sequence[Document], model: Model | None, keep: Path, digest: str
) -> dict[str, NDArray[Any]]:
    path = keep / f"queries-{digest}.safetensors"
    if not path.exists():
        if model is None:
            raise UsageError("the energy of queries needs a model: name one with --model")
        save_file(query_energy(model, documents[:: max(1, len(documents) // QUERY_DOCUMENTS)]), path)
    return dict(load_file(path))


def query_energy(model: Model, documents: Sequence[Document]) -> dict[str, NDArray[Any]]:
    """What attention sees of each channel, for models with `q_proj` and `o_proj` (Llama and its kin).

    Returns
    -------
    energy : (layers, heads, channels)
        Mean square of the queries that read a key head, the same for two channels that turn together.
    output : (layers, heads, channels)
        Squared norm of the columns of the output projection that read a channel of the values.
    mean : (layers, heads, queries of a head, channels)
        Mean query before its rotary embedding.
    """
    import torch

    config = model.config
    heads, dim = config["num_key_value_heads"], config["head_dim"]
    attentions = [layer.self_attn for layer in model.module.model.layers]
    sums = np.zeros((len(attentions), heads, dim))
    means: list[Any] = [0.0] * len(attentions)
    count = 0

    def listen(place: int) -> Any:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            means[place] = (
                means[place] + output.detach().double().mean((0, 1)).reshape(heads, -1, dim).numpy()
            )
            squares = output.detach().double().square().mean((0, 1)).reshape(heads, -1, dim).mean(1)
            sums[place] += squares.numpy()

        return hook

    hooks = [attention.q_proj.register_forward_hook(listen(i)) for i, attention in enumerate(attentions)]
    try:
        with torch.inference_mode():
            for document in documents:
                model.module.model(torch.tensor([document.tokens[:1024]]))
                count += 1
    finally:
        for hook in hooks:
            hook.remove()
    pairs = (sums / count).reshape(len(attentions), heads, 2, dim // 2).mean(2, keepdims=True)
    output = [
        attention.o_proj.weight.detach().float().square().sum(0).reshape(heads, -1, dim).sum(1).numpy()
        for attention in attentions
    ]
    energy = np.broadcast_to(pairs, (len(attentions), heads, 2, dim // 2)).reshape(sums.shape)
    return {
        "energy": energy.astype(np.float32),
        "output": np.stack(output).astype(np.float32),
        "mean": np.stack(means).astype(np.float32) / count,
    }
