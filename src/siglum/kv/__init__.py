"""Key-value caches of language models as bytes.

>>> import numpy as np
>>> from siglum import kv
>>> keys, values = np.random.default_rng(0).standard_normal((2, 4, 80, 64)).astype(np.float16)
>>> cache = kv.KVCache.from_arrays([(keys, values)], rope=kv.Rope(theta=10000.0, dim=64))
>>> data = kv.compress(cache, quality=90)
>>> kv.decompress(data).tokens
80
"""

from typing import TYPE_CHECKING, Any

from siglum.codecs.kv.cache import KVCache, Layer
from siglum.codecs.kv.calibration import Calibration
from siglum.codecs.kv.codec import KVCodec, KVConfig, compress, decompress
from siglum.codecs.kv.decoding import KVWarning
from siglum.codecs.kv.encoding import Encoder, append
from siglum.codecs.kv.files import read_cache, write_cache
from siglum.codecs.kv.rope import Rope
from siglum.kv.prefetch import iter_layers, iter_tokens
from siglum.kv.sequences import attention_mask, from_transformers, join, to_transformers
from siglum.kv.store import Store, StoreWarning

if TYPE_CHECKING:
    from siglum.kv.compressed import CompressedCache

__all__ = [
    "Calibration",
    "CompressedCache",
    "Encoder",
    "KVCache",
    "KVCodec",
    "KVConfig",
    "KVWarning",
    "Layer",
    "Rope",
    "Store",
    "StoreWarning",
    "append",
    "attention_mask",
    "compress",
    "decompress",
    "from_transformers",
    "iter_layers",
    "iter_tokens",
    "join",
    "read_cache",
    "to_transformers",
    "write_cache",
]


def __getattr__(name: str) -> Any:
    if name != "CompressedCache":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from siglum.errors import require_transformers

    require_transformers("a compressed cache")
    from siglum.kv.compressed import CompressedCache

    return CompressedCache
