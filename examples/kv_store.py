"""A store of key-value caches: a prompt is computed once, and loaded by whoever asks next.

python examples/kv_store.py [CACHE.safetensors]
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path

from siglum import kv

FIXTURE = Path(__file__).resolve().parent.parent / "tests" / "media" / "smollm2-kv.safetensors"


def main(path: Path = FIXTURE) -> None:
    """Store a real cache, find it by its tokens, damage it, and find what is left."""
    cache = kv.read_cache(path)
    tokens = list(range(cache.tokens))  # in place of the ids that filled it

    with tempfile.TemporaryDirectory() as folder:
        store = kv.Store(folder, model=cache.model or "example", quality=60, span=64, limit=10**9)
        with store.writer() as writer:  # while the prompt is read, as its caches come
            for start in range(0, cache.tokens, 100):
                stop = min(start + 100, cache.tokens)
                writer.append(tokens[start:stop], cache.slice(start, stop))
        held = sum(entry.size for entry in store.entries())
        print(f"stored: {writer.stored} of {cache.tokens} tokens, {held:,} bytes for {cache.nbytes:,}")

        another = [*tokens[: cache.tokens - 30], 49151, 49150]  # another prompt that begins alike
        print(f"found: {store.lookup(another)} tokens of a prompt of {len(another)}")
        loaded = store.get(another)
        assert loaded is not None
        layers = sum(1 for _ in loaded.layers)
        print(f"loaded: {loaded.tokens} tokens, {layers} layers, {loaded.dtype}")

        last = store.find(tokens)[-1]
        entry = Path(folder) / last.name[:2] / last.name
        entry.write_bytes(entry.read_bytes()[:-1000])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            rest = store.get(tokens)
        print(f"damaged: {caught[0].message}")
        print(f"left: {rest.tokens if rest else 0} tokens")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
