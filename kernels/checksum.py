"""CRC32C, the checksum of every part of a .sgl file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import siglum.kernels._native as _native

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined, unused-ignore]

__all__ = ["crc32c"]


def crc32c(data: Buffer, value: int = 0) -> int:
    """Return the CRC32C (Castagnoli) of ``data``, continued from ``value``.

    The interpreter's lock is released while it runs and nothing is copied. The processor's own instruction is
    used where there is one (SSE4.2, ARMv8), tables otherwise; the results are equal.

    Parameters
    ----------
    data
        Any object with a C-contiguous buffer: ``bytes``, ``memoryview``, a NumPy array of any type.
    value
        The CRC32C of what comes before ``data``: ``crc32c(b, crc32c(a)) == crc32c(a + b)``. 0 to 2**32 - 1.

    Returns
    -------
    int
        0 to 2**32 - 1.

    Raises
    ------
    TypeError
        ``data`` has no buffer, or ``value`` is not an integer of 32 bits.
    BufferError, ValueError
        The buffer is not contiguous (the object that owns it chooses which).

    References
    ----------
    Castagnoli, Braeuer and Herrmann, "Optimization of cyclic redundancy-check codes with 24 and 32 parity
    bits", IEEE Transactions on Communications 41(6), 1993. RFC 3720, appendix B.4, has test vectors.

    Examples
    --------
    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    return _native.crc32c(data, value)
