"""Learning a calibration: run a model over texts, take moments of its caches and of what looks at them.

The weighting is the Fisher information of the next tokens with respect to cached keys and values (labels drawn from the
model itself), so that a squared step is the same divergence everywhere (Amari, "Natural gradient works efficiently in
learning", 1998; for keys and queries alone, A2ATS uses E[q q^T]).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglum.codecs.kv.cache import KVCache, as_float
from siglum.codecs.kv.calibration import Calibration
from siglum.codecs.kv.fit import Doubles, fit_transform, weight_of
from siglum.codecs.kv.layout import KEYS, VALUES, Layout
from siglum.codecs.kv.rows import floats_of
from siglum.errors import UnsupportedInputError, UsageError, require_torch

__all__ = ["FINENESS", "FLOOR", "calibrate", "fit_calibration", "load_model"]

FINENESS = -1250  # 0.008 of a step of quality 60
FLOOR = -880  # a fifth of a step of quality 75: what is weak here may be strong in another domain
SINKS = 4
GROUP = 6
CONTEXT, CONTINUATION = 2048, 256


class Moments:
    """Sums over documents: of tokens and their products, and of gradients.

    Parameters
    ----------
    cache
        Any cache of the model.
    group
        Layers that share a transform.
    """

    def __init__(self, cache: KVCache, group: int = GROUP) -> None:
        layout = Layout.of(cache, group)
        kinds = tuple(replace(kind, start=0) for kind in layout.kinds)
        if len(set(kinds)) != len(kinds):
            raise UnsupportedInputError("calibrate with texts shorter than the sliding windows of the model")
        self.layout = replace(layout, kinds=kinds, dtype="float16", model="", position=0)
        self.count = 0
        self.looks = 0  # tokens whose gradients were taken
        self.sums: dict[tuple[int, int], Doubles] = {}
        self.products: dict[tuple[int, int], Doubles] = {}
        self.metrics: dict[tuple[int, int], Doubles] = {}
        for group_number in range(len(layout.groups)):
            for which in (KEYS, VALUES):
                width, kind = layout.width(group_number, which), layout.kind(group_number)
                dim = kind.value_dim if which else kind.key_dim
                self.sums[group_number, which] = np.zeros(width)
                self.products[group_number, which] = np.zeros((width, width))
                self.metrics[group_number, which] = np.zeros((width // dim, dim, dim))

    def add(self, cache: KVCache, gradients: KVCache, looks: int) -> None:
        """Add a document: its cache, and gradients of as many log probabilities with respect to it."""
        first = min(SINKS, cache.tokens - 1)
        for (group, which), product in self.products.items():
            rows = self._rows(cache, group, which, first)
            self.sums[group, which] += rows.sum(axis=0, dtype=np.float64)
            product += rows.T @ rows
            slopes = self._rows(gradients, group, which, first)
            heads = slopes.reshape(len(slopes), *self.metrics[group, which].shape[:2]).transpose(1, 2, 0)
            self.metrics[group, which] += heads @ heads.transpose(0, 2, 1)
        self.count += cache.tokens - first
        self.looks += looks

    def _rows(self, cache: KVCache, group: int, which: int, first: int) -> NDArray[np.float32]:
        return floats_of(cache, self.layout, group, which, first, cache.tokens, 0)


def fit_calibration(moments: Moments, fineness: int = FINENESS, floor: int = FLOOR) -> Calibration:
    """The calibration of moments, before it is rounded by saving."""
    transforms = {}
    for key, product in moments.products.items():
        mean = moments.sums[key] / moments.count
        covariance = product / moments.count - np.outer(mean, mean)
        weight = weight_of(moments.metrics[key] / moments.looks)
        transforms[key] = fit_transform(mean, covariance, weight, floor=floor, fineness=fineness)
    return Calibration(moments.layout, transforms, fineness, b"")


def load_model(source: str) -> tuple[Any, Any]:
    """A transformers model in float32 and its tokenizer, from a folder, a hub's name or a .gguf file."""
    require_torch("calibrating")
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        raise UsageError(f"calibrating needs transformers ({error}): pip install 'siglum[llm]'") from error
    from pathlib import Path

    given: dict[str, Any] = {}
    path = Path(source)
    if path.suffix == ".gguf":
        source, given = str(path.parent), {"gguf_file": path.name}
    try:
        model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, **given).eval()
        return model.requires_grad_(False), AutoTokenizer.from_pretrained(source, **given)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UnsupportedInputError(f"{source}: no model that transformers can load: {reason}") from error


def calibrate(
    model: Any,
    texts: Iterable[Sequence[int]],
    *,
    context: int = CONTEXT,
    continuation: int = CONTINUATION,
    group: int = GROUP,
    draws: int = 2,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Moments:
    """Moments of a transformers model over token sequences.

    Parameters
    ----------
    texts
        Token numbers of each document; what goes beyond context and continuation is not used, documents shorter than
        twice the continuation are passed over.
    context, continuation
        Tokens whose cache is taken, and tokens after them that look at it.
    draws
        Labels drawn for each token of the continuation.
    progress
        Called with the number of documents done.
    """
    require_torch("calibrating")
    import torch

    generator = torch.Generator().manual_seed(seed)
    moments: Moments | None = None
    done = 0
    for tokens in texts:
        ids = list(tokens)[: context + continuation]
        if len(ids) < 2 * continuation:
            continue
        cut = len(ids) - continuation
        with torch.no_grad():
            filled = model(torch.tensor([ids[:cut]]), use_cache=True).past_key_values
        cache = KVCache.from_transformers(filled, model.config)
        moments = moments or Moments(cache, group)
        for gradients in _gradients(model, cache, ids[cut:], draws, generator):
            moments.add(cache, gradients, continuation)
        done += 1
        if progress is not None:
            progress(done)
    if moments is None:
        raise UsageError(f"no text has {2 * continuation} tokens: give longer ones")
    return moments


def _gradients(
    model: Any, cache: KVCache, ids: Sequence[int], draws: int, generator: Any
) -> Iterable[KVCache]:
    """Gradients of the log probabilities of drawn labels with respect to keys and values."""
    import torch
    from transformers import DynamicCache

    leaves, filled = [], DynamicCache(config=model.config)
    for number, layer in enumerate(cache.layers):
        pair = [torch.from_numpy(as_float(part, cache.dtype))[None].requires_grad_() for part in layer[:2]]
        leaves += pair
        filled.update(pair[0], pair[1], number)
    logs = torch.log_softmax(model(torch.tensor([list(ids)]), past_key_values=filled).logits[0].float(), -1)
    for draw in range(draws):
        labels = torch.multinomial(logs.detach().exp(), 1, generator=generator)
        total = logs.gather(1, labels).sum()
        slopes = torch.autograd.grad(total, leaves, retain_graph=draw + 1 < draws)
        layers = [
            layer._replace(keys=slopes[2 * i][0].numpy(), values=slopes[2 * i + 1][0].numpy())
            for i, layer in enumerate(cache.layers)
        ]
        yield KVCache(layers, "float32", cache.model, cache.position)
