"""Key-value caches of language models as bytes.

>>> import numpy as np
>>> from siglum import kv
>>> keys, values = np.random.default_rng(0).standard_normal((2, 4, 80, 64)).astype(np.float16)
>>> cache = kv.KVCache.from_arrays([(keys, values)], rope=kv.Rope(theta=10000.0, dim=64))
>>> data = kv.compress(cache, quality=90)
>>> kv.decompress(data).tokens
80
"""

from siglum.codecs.kv.cache import KVCache, Layer
from siglum.codecs.kv.codec import KVCodec, KVConfig, compress, decompress
from siglum.codecs.kv.decoding import KVWarning
from siglum.codecs.kv.encoding import Encoder
from siglum.codecs.kv.files import read_cache, write_cache
from siglum.codecs.kv.rope import Rope

__all__ = [
    "Encoder",
    "KVCache",
    "KVCodec",
    "KVConfig",
    "KVWarning",
    "Layer",
    "Rope",
    "compress",
    "decompress",
    "read_cache",
    "write_cache",
]
