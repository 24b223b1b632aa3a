"""What the entropy coder of `kv` should need: the bits that its own tables give its symbols."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from numpy.typing import ArrayLike

from siglum.benchmarks.coder import Dial
from siglum.benchmarks.kv_coders import KVCoder
from siglum.codecs.kv import coding
from siglum.codecs.kv.cache import KVCache
from siglum.entropy import rans
from siglum.entropy.tables import Tables


def health(coder: KVCoder, cache: KVCache, dial: Dial) -> dict[str, float]:
    """Bits that the tables ask for, of components alone, and bits of the file.

    The difference is everything else: sinks, corrections of scales, states of the coder, checksums, headers.

    Parameters
    ----------
    coder
        Of `kv` or `kv-free`, with one thread.
    """
    ideal = 0.0

    class Counting(rans.Encoder):
        def push(self, symbols: ArrayLike, tables: Tables, indexes: ArrayLike) -> None:
            nonlocal ideal
            if not isinstance(indexes, int):  # components; corrections have one table for all
                ideal += tables.bits(symbols, indexes)
            super().push(symbols, tables, indexes)

    proxy: Any = SimpleNamespace(Encoder=Counting, Decoder=rans.Decoder)
    with patch.object(coding, "rans", proxy):
        data = coder.encode(cache, dial)
    return {"ideal_bits": ideal, "actual_bits": 8.0 * len(data)}
