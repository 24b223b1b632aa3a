"""A coder for research and for checking ours: constriction's ANS (Bamler, arXiv 2201.01741), same tables.

It has the interface of `siglum.entropy.rans`, 64-bit state and 24-bit probabilities, and is slower. Its
payload is not part of the file format: bytes of the side stream (u32, little-endian), words (u32,
little-endian), side stream of escapes as in `siglum.entropy.rans`. Within a step it codes table after table,
in the order of the symbols of each.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siglum.entropy.arrays import as_indexes, as_symbols, result_array
from siglum.entropy.coders import CODERS, Coder
from siglum.entropy.tables import Tables
from siglum.errors import BitstreamError, SiglumError, Truncated
from siglum.kernels.reference.rans import BitReader, BitWriter


class Encoder:
    """Collects the steps of a chunk; `finish` codes them, last symbol first."""

    def __init__(self) -> None:
        _library()
        self._reset()

    def _reset(self) -> None:
        self._escapes = BitWriter()
        self._runs: list[tuple[NDArray[np.int32], Any]] = []

    def push(self, symbols: ArrayLike, tables: Tables, indexes: ArrayLike) -> None:
        """Append one step: int32 symbols, and which table each uses."""
        values = as_symbols(symbols).astype(np.int32, copy=False)
        which = np.broadcast_to(as_indexes(indexes, values.shape, tables), values.size)
        last = tables.sizes.astype(np.int64) - 1
        number = values.ravel().astype(np.int64) - tables.offsets[which]
        number = np.where((number < 0) | (number >= last[which]), last[which], number)
        for i in np.flatnonzero(number == last[which]).tolist():
            t = int(which[i])
            self._escapes.put_escape(int(values.ravel()[i]), int(tables.offsets[t]), int(tables.sizes[t]))
        for t in np.unique(which).tolist():
            self._runs.append((number[which == t].astype(np.int32), _model(tables, t)))

    def finish(self) -> bytes:
        """Return the payload of all steps; the encoder is empty afterwards."""
        coder = _library().stream.stack.AnsCoder()
        for numbers, model in reversed(self._runs):
            coder.encode_reverse(numbers, model)
        words = coder.get_compressed().astype("<u4").tobytes()
        side = self._escapes.to_bytes()
        self._reset()
        return len(side).to_bytes(4, "little") + words + side


class Decoder:
    """Decodes a chunk step by step."""

    def __init__(self, data: Any) -> None:
        library = _library()
        data = bytes(data)
        side = int.from_bytes(data[:4], "little")
        if len(data) < 4 + side or (len(data) - 4 - side) % 4:
            raise Truncated("the coded chunk ends too early: the file is cut off or damaged")
        self._escapes = BitReader(data[len(data) - side :])
        words = np.frombuffer(data[4 : len(data) - side], dtype="<u4").astype(np.uint32)
        try:
            self._coder = library.stream.stack.AnsCoder(words)
        except ValueError:
            raise BitstreamError("the coded chunk does not end as one: the file is damaged") from None

    def decode(
        self, tables: Tables, indexes: ArrayLike, shape: int | tuple[int, ...] | None = None
    ) -> NDArray[np.int32]:
        """Decode one step; returns int32 symbols of the shape of ``indexes``, or ``shape``."""
        symbols = result_array(indexes, shape, None, tables)
        which = np.broadcast_to(as_indexes(indexes, symbols.shape, tables), symbols.size)
        number = np.empty(symbols.size, dtype=np.int64)
        for t in np.unique(which).tolist():
            here = which == t
            number[here] = self._coder.decode(_model(tables, t), int(here.sum()))
        symbols.reshape(-1)[:] = number + tables.offsets[which]
        for i in np.flatnonzero(number == tables.sizes[which].astype(np.int64) - 1).tolist():
            t = int(which[i])
            symbol = self._escapes.take_escape(int(tables.offsets[t]), int(tables.sizes[t]))
            symbols.reshape(-1)[i] = symbol
        return symbols

    def finish(self) -> None:
        """Check that the chunk ends here."""
        if not self._coder.is_empty():
            raise BitstreamError("the coded chunk is damaged: it does not end where its symbols do")
        self._escapes.finish()


def _model(tables: Tables, t: int) -> Any:
    probabilities = tables.frequencies[t].astype(np.float64) / (1 << tables.precision)
    return _library().stream.model.Categorical(probabilities, perfect=False)


def _library() -> Any:
    try:
        import constriction
    except ImportError:
        raise SiglumError("this coder needs the package constriction: pip install constriction") from None
    return constriction


@CODERS.register("constriction-ans")
def coder() -> Coder:
    """Constriction's ANS under our tables; raises `SiglumError` where the package is absent."""
    return Coder(Encoder, Decoder)
