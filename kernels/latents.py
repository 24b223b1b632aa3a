"""What lies between a codec's networks and its entropy coder: prediction, rounding, reconstruction of latents.

All arrays are (rows, columns, channels) and need only the last axis to be contiguous, so that a tile of a larger
array is worked on where it lies.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import siglum.kernels._native as _native
from siglum.kernels import dispatch

Floats = NDArray[np.float32]


def predict(
    prior: NDArray[np.int16],
    unit: Floats,
    mean: Floats,
    index: NDArray[np.uint8],
    threads: int = 1,
    isa: str | None = None,
) -> None:
    """Means and table indices from the output of an integer prior.

    Parameters
    ----------
    prior
        (H, W, 2C) int16: means in units of `unit`, then table indices in 1/256.
    unit
        (C,) float32.
    mean, index
        (rows, columns, C) float32 and uint8, 0..63, to write to; at most (H, W) positions.
    """
    _native.latents_predict(prior, unit, mean, index, threads, isa or dispatch.isa())


def choose(
    latent: Floats,
    mean: Floats,
    index: NDArray[np.uint8],
    weight: Floats,
    bits: Floats,
    skip: int,
    threads: int = 1,
) -> NDArray[np.int32]:
    """Round latents so that bits + weight * squared error is least, looking one step towards zero.

    Parameters
    ----------
    latent, mean
        (rows, columns, C) float32 in units of the step.
    index
        Their tables, 0..63.
    weight
        (C,) float32: bits that one squared step of error is worth.
    bits
        (64, 25) float32: bits of each magnitude under each table; larger ones are rounded to the nearest.
    skip
        Latents whose table is below this are zero.

    Returns
    -------
    (rows, columns, C) int32, -32767..32767.
    """
    symbols = np.empty(latent.shape, np.int32)
    _native.latents_choose(latent, mean, index, weight, bits, skip, symbols, threads)
    return symbols


def reconstruct(
    symbols: NDArray[np.int32],
    mean: Floats,
    index: NDArray[np.uint8],
    offsets: Floats,
    out: Floats | None = None,
    threads: int = 1,
    isa: str | None = None,
) -> Floats:
    """Latents from symbols: ``symbol + mean - sign(symbol) * offset``.

    Parameters
    ----------
    offsets
        (64, 2) float32: of each table, for magnitude 1 and for 2 and above.
    out
        Where to write them, possibly `mean`; None: a new array.
    """
    out = np.empty(symbols.shape, np.float32) if out is None else out
    _native.latents_reconstruct(symbols, mean, index, offsets, out, threads, isa or dispatch.isa())
    return out


def gather(
    symbols: NDArray[np.int32], index: NDArray[np.uint8], skip: int
) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Symbols and tables of those whose table is not below `skip`, in order."""
    coded, tables = np.empty(symbols.size + 1, np.int32), np.empty(symbols.size + 1, np.uint8)
    count = _native.latents_gather(symbols, index, skip, coded, tables)
    return coded[:count], tables[:count]


def coded_tables(index: NDArray[np.uint8], skip: int) -> NDArray[np.uint8]:
    """The tables of those that are not below `skip`, in order."""
    tables = np.empty(index.size + 1, np.uint8)
    return tables[: _native.latents_tables(index, skip, tables)]


def scatter(
    coded: NDArray[np.int32], index: NDArray[np.uint8], skip: int, out: NDArray[np.int32] | None = None
) -> NDArray[np.int32]:
    """The inverse of `gather`: symbols of the shape of `index`, zero where its table is below `skip`.

    Raises
    ------
    ValueError
        If there are not as many symbols as places.
    """
    symbols = np.empty(index.shape, np.int32) if out is None else out
    used = _native.latents_scatter(coded, index, skip, symbols)
    if used != coded.size:
        raise ValueError(f"{coded.size} symbols for {used} places")
    return symbols
