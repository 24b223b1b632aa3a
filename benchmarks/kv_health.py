"""What the entropy coder of `kv` should need: the bits that its own tables give its symbols."""

from __future__ import annotations

import io

from siglum.benchmarks.coder import Dial
from siglum.benchmarks.kv_coders import KVCoder
from siglum.codecs.kv import reference
from siglum.codecs.kv.blocks import TRANSFORM
from siglum.codecs.kv.cache import KVCache
from siglum.codecs.kv.coding import Components
from siglum.codecs.kv.decoding import Decoder
from siglum.entropy.gaussian import gaussian_tables


def health(coder: KVCoder, cache: KVCache, dial: Dial) -> dict[str, float]:
    """Bits that the tables ask for, of components alone, and bits of the file.

    The difference is everything else: sinks, corrections of scales, states of the coder, checksums, headers.

    Parameters
    ----------
    coder
        Of `kv` or `kv-free`, with one thread.
    """
    data = coder.encode(cache, dial)
    decoder, ideal = Decoder(io.BytesIO(data), coder.calibration), 0.0
    for block in decoder.coded_blocks():
        if block.method == TRANSFORM:
            part = decoder.plan[block.part.group, block.part.which]
            assert isinstance(part, Components)
            symbols, index = reference.decode(part, block.body, block.crc, block.part.tokens)
            ideal += gaussian_tables().bits(symbols, index)
    return {"ideal_bits": ideal, "actual_bits": 8.0 * len(data)}
