"""Drop-in for ``compressai.ans``: the same classes, methods and bytes, faster, with errors instead of crashes.

What is coded here decodes there, and the other way round: byte for byte the same streams (64-bit rANS, 32-bit
words, 16-bit tables, values outside a table as 4-bit digits after its last entry). To swap the coder of a
model, see `examples/replace_compressai_coder.py`.

Where the original crashes, reads beyond its memory or loops, this raises: `Truncated` or another
`BitstreamError` for strings that are too short or damaged, `UsageError` for tables that are none (not rising
from 0 to 2**16), sizes or indexes out of range, and lists that differ in length.

Symbols, indexes, tables, sizes and offsets may be lists, NumPy arrays or torch tensors. Lists come back as a
list, arrays as an int32 array, tensors as an int32 tensor: the kind of ``indexes``. Tables are compiled once
and recognised by their content when they come again. Encoders and decoders that are shared between threads
raise; one a thread is fine, and the GIL is released while coding.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglum.entropy.precise import Stack
from siglum.entropy.precise_tables import PreciseTables
from siglum.errors import BitstreamError, UsageError
from siglum.kernels.checksum import crc32c

__all__ = ["BufferedRansEncoder", "RansDecoder", "RansEncoder", "clear_cache"]

PRECISION = 16

_CACHED = 8
_cache: OrderedDict[tuple[int, ...], tuple[tuple[NDArray[Any], ...], PreciseTables]] = OrderedDict()
_lock = Lock()


class RansEncoder:
    """Codes one string a call."""

    def encode_with_indexes(
        self, symbols: Any, indexes: Any, cdfs: Any, cdfs_sizes: Any, offsets: Any
    ) -> bytes:
        """Code symbols, each with the table that its index names.

        Parameters
        ----------
        symbols : n ints (int32)
        indexes : n ints
        cdfs : rows of ints
            Row t starts with ``cdfs_sizes[t]`` values that rise strictly from 0 to 2**16. The last of its
            ``cdfs_sizes[t] - 1`` entries stands for all symbols outside
            ``offsets[t] ... offsets[t] + cdfs_sizes[t] - 3``.
        cdfs_sizes, offsets : an int for each row

        Returns
        -------
        string : bytes
            A multiple of 4, at least 8.

        Raises
        ------
        UsageError
        """
        stack = Stack()
        _push(stack, symbols, indexes, cdfs, cdfs_sizes, offsets)
        return stack.to_bytes()


class BufferedRansEncoder:
    """Collects the symbols of several calls and codes them as one string."""

    def __init__(self) -> None:
        self._steps: list[tuple[NDArray[np.int32], NDArray[np.int32], PreciseTables]] = []

    def encode_with_indexes(
        self, symbols: Any, indexes: Any, cdfs: Any, cdfs_sizes: Any, offsets: Any
    ) -> None:
        """Append symbols; see `RansEncoder.encode_with_indexes`."""
        values, which, tables = _arguments(symbols, indexes, cdfs, cdfs_sizes, offsets)
        _check(values, which, tables)
        if symbols is values:  # the caller's own memory, which may change before flush
            values = values.copy()
        if indexes is which:
            which = which.copy()
        self._steps.append((values, which, tables))

    def flush(self) -> bytes:
        """Code what was appended, and forget it."""
        steps, self._steps = self._steps, []
        stack = Stack()
        for values, which, tables in reversed(steps):
            stack.push(values, tables, which)
        return stack.to_bytes()


class RansDecoder:
    """Decodes a string, at once or step by step."""

    def __init__(self) -> None:
        self._stack: Stack | None = None

    def decode_with_indexes(
        self, encoded: Any, indexes: Any, cdfs: Any, cdfs_sizes: Any, offsets: Any
    ) -> Any:
        """Decode a whole string; see `RansEncoder.encode_with_indexes`.

        Parameters
        ----------
        encoded : bytes-like

        Returns
        -------
        symbols : list, int32 array or int32 tensor, as ``indexes``

        Raises
        ------
        Truncated, BitstreamError
            If the string is too short or damaged: also if anything is left after the last symbol.
        UsageError
        """
        stack = Stack(encoded)
        result = _pop(stack, indexes, cdfs, cdfs_sizes, offsets)
        try:
            stack.finish()
        except BitstreamError:
            raise BitstreamError(
                "the string does not end with its last symbol: it is damaged, or coded with other tables"
            ) from None
        return result

    def set_stream(self, encoded: Any) -> None:
        """Begin a string that `decode_stream` decodes in steps. It is copied.

        Raises
        ------
        Truncated, MalformedHeader
        """
        self._stack = None
        self._stack = Stack(encoded)

    def decode_stream(self, indexes: Any, cdfs: Any, cdfs_sizes: Any, offsets: Any) -> Any:
        """Decode the next symbols; see `decode_with_indexes`. Whether the string ends is not checked."""
        if self._stack is None:
            raise UsageError("there is no string: call set_stream first")
        return _pop(self._stack, indexes, cdfs, cdfs_sizes, offsets)


def clear_cache() -> None:
    """Forget the compiled tables (the last 8 sets are kept)."""
    with _lock:
        _cache.clear()


def _push(stack: Stack, symbols: Any, indexes: Any, cdfs: Any, sizes: Any, offsets: Any) -> None:
    values, which, tables = _arguments(symbols, indexes, cdfs, sizes, offsets)
    stack.push(values, tables, which)


def _pop(stack: Stack, indexes: Any, cdfs: Any, sizes: Any, offsets: Any) -> Any:
    tables = _compiled(cdfs, sizes, offsets)
    values = stack.pop(tables, _integers(indexes, "indexes"))
    if isinstance(indexes, (list, tuple)):
        return _kernels().list_from_ints(values)
    if type(indexes).__module__.partition(".")[0] == "torch":
        return sys.modules["torch"].from_numpy(values)
    return values


def _arguments(symbols: Any, indexes: Any, cdfs: Any, sizes: Any, offsets: Any) -> Any:
    values, which = _integers(symbols, "symbols"), _integers(indexes, "indexes")
    if values.shape != which.shape:
        raise UsageError(f"{values.size} symbols need as many indexes, not {which.size}")
    return values, which, _compiled(cdfs, sizes, offsets)


def _check(values: NDArray[np.int32], which: NDArray[np.int32], tables: PreciseTables) -> None:
    """Refuse now what `flush` could not code."""
    if not values.size:
        return
    if which.min() < 0 or which.max() >= len(tables):
        raise UsageError("an index names no table")
    low = tables.offsets.astype(np.int64)
    high = low + tables.sizes - 1
    if values.min() >= high.max() - 2**31 and values.max() < low.min() + 2**31:
        return
    if np.any(values < low[which] - 2**31) or np.any(values >= high[which] + 2**31):
        raise UsageError("a symbol is more than 2**31 beyond its table")


def _compiled(cdfs: Any, sizes: Any, offsets: Any) -> PreciseTables:
    lengths, starts = _integers(sizes, "cdfs_sizes"), _integers(offsets, "offsets")
    parts = (_flat(cdfs, lengths), lengths, starts)
    key = tuple(crc32c(part) for part in parts)  # only finds the place: the content is compared
    with _lock:
        if key in _cache and all(map(np.array_equal, _cache[key][0], parts)):
            _cache.move_to_end(key)
            return _cache[key][1]
    tables = _build(*parts)
    with _lock:
        _cache[key] = (tuple(part.copy() for part in parts), tables)
        while len(_cache) > _CACHED:
            _cache.popitem(last=False)
    return tables


def _build(flat: NDArray[np.uint32], lengths: NDArray[np.int32], starts: NDArray[np.int32]) -> PreciseTables:
    frequencies = []
    for t, row in enumerate(np.split(flat.astype(np.int64), np.cumsum(lengths)[:-1])):
        if len(row) < 2 or row[0] != 0 or row[-1] != 1 << PRECISION or np.any(np.diff(row) < 1):
            raise UsageError(f"cdf {t} does not rise strictly from 0 to {1 << PRECISION}")
        frequencies.append(np.diff(row))
    return PreciseTables(frequencies, starts, PRECISION)


def _flat(cdfs: Any, lengths: NDArray[np.int32]) -> NDArray[np.uint32]:
    """The used part of each row, in a row."""
    if isinstance(cdfs, (list, tuple)) and all(isinstance(row, (list, tuple)) for row in cdfs):
        rows = [row if isinstance(row, list) else list(row) for row in cdfs]
        try:
            flat: NDArray[np.uint32] = _kernels().ints_from_rows(rows, lengths)
            return flat
        except ValueError as error:
            raise UsageError(f"cdfs: {error}") from None
        except TypeError:
            pass  # numbers of other kinds
    table = None if isinstance(cdfs, (list, tuple)) else np.asarray(cdfs)
    whole = table is not None and table.ndim == 2 and table.dtype == np.int32
    arrays = list(table) if whole and table is not None else [_integers(row, "a cdf") for row in cdfs]
    if len(arrays) != len(lengths):
        raise UsageError("there must be as many sizes as cdfs")
    if any(not 0 <= n <= len(row) for n, row in zip(lengths.tolist(), arrays, strict=True)):
        raise UsageError("a size is larger than its cdf")
    used = [row[:n] for n, row in zip(lengths.tolist(), arrays, strict=True)]
    values = np.concatenate(used) if used else np.empty(0, dtype=np.int32)
    if np.any(values < 0):
        raise UsageError("a cdf holds a negative number")
    return values.astype(np.uint32)


def _integers(values: Any, what: str) -> NDArray[np.int32]:
    """Flat int32 array of a list, an array or a tensor; the array itself where it is one."""
    if isinstance(values, list):
        try:
            result: NDArray[np.int32] = _kernels().ints_from_list(values)
            return result
        except ValueError as error:
            raise UsageError(f"{what}: {error}") from None
        except TypeError:
            pass  # numbers of other kinds
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        raise UsageError(f"{what} must be integers in a row: {error}") from None
    if array.size == 0:
        return np.empty(0, dtype=np.int32)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise UsageError(f"{what} must be integers in a row")
    if not np.can_cast(array.dtype, np.int32) and (array.min() < -(2**31) or array.max() >= 2**31):
        raise UsageError(f"{what}: an integer is out of range")
    return np.ascontiguousarray(array, dtype=np.int32)


def _kernels() -> Any:
    from siglum.kernels import _native

    return _native
