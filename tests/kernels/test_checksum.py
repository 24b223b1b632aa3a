from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.kernels import _native
from siglum.kernels.checksum import crc32c
from siglum.kernels.reference.checksum import crc32c as reference

VECTORS = [  # RFC 3720, appendix B.4, and the usual check value
    (b"", 0x00000000),
    (b"123456789", 0xE3069283),
    (bytes(32), 0x8A9136AA),
    (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(range(31, -1, -1)), 0x113FDB5C),
]


@pytest.mark.parametrize("function", [crc32c, _native.crc32c_portable, reference])
@pytest.mark.parametrize(("data", "expected"), VECTORS)
def test_published_values(function, data: bytes, expected: int) -> None:
    assert function(data, 0) == expected


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=600), st.integers(0, 2**32 - 1), st.integers(0, 17))
def test_kernels_equal_reference(data: bytes, value: int, start: int) -> None:
    view = memoryview(data)[start:]  # unaligned starts
    expected = reference(view, value)
    assert crc32c(view, value) == expected
    assert _native.crc32c_portable(view, value) == expected


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=300), st.integers(0, 300))
def test_continues(data: bytes, cut: int) -> None:
    assert crc32c(data[cut:], crc32c(data[:cut])) == crc32c(data)


def test_takes_any_contiguous_buffer() -> None:
    array = np.arange(24, dtype=np.int32).reshape(2, 3, 4)
    expected = reference(array.tobytes())
    assert crc32c(array) == crc32c(bytearray(array.tobytes())) == crc32c(memoryview(array)) == expected
    array.flags.writeable = False
    assert crc32c(array) == expected


def test_refuses_what_it_cannot_read() -> None:
    with pytest.raises((BufferError, ValueError)):
        crc32c(np.zeros((4, 4), dtype=np.uint8)[:, ::2])
    with pytest.raises(TypeError):
        crc32c("text")  # type: ignore[arg-type]
    for value in (-1, 2**32):
        with pytest.raises(TypeError):
            crc32c(b"", value)


def test_releases_the_lock() -> None:
    data = bytes(range(256)) * 40_000
    results: list[int] = []
    threads = [threading.Thread(target=lambda: results.append(crc32c(data))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [_native.crc32c_portable(data)] * 4
