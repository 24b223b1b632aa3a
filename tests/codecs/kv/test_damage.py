"""Damage of every kind is an error of its own or a warning, never a crash; checksums are made right again."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from siglum import errors, kv
from siglum.codecs.container import Chunk, Header, Reader, write
from siglum.codecs.kv.layout import LAYOUT_KEY

Make = Callable[..., kv.KVCache]
MODES = [{"calibration": None}, {"lossless": True}, {"calibration": None, "group": 2, "window": 20}]


def read_quietly(data: bytes, **more: Any) -> kv.KVCache | None:
    """The cache, or None where there is a proper error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", kv.KVWarning)
        try:
            return kv.decompress(data, threads=1, **more)
        except errors.BitstreamError:
            return None


@pytest.mark.parametrize("mode", range(len(MODES)))
def test_flips_and_cuts(make: Make, mode: int) -> None:
    data = kv.compress(make(70, layers=2), **MODES[mode])
    random = np.random.default_rng(mode)
    for place in [*range(min(200, len(data))), *random.integers(0, len(data), 60)]:
        bad = bytearray(data)
        bad[place] ^= 1 << int(random.integers(8))
        assert read_quietly(bytes(bad)) is None
        read_quietly(bytes(bad), partial=True)
        assert read_quietly(data[:place]) is None
        read_quietly(data[:place], partial=True)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(MODES) - 1), st.data())
def test_payloads_with_right_checksums(make: Make, mode: int, data: st.DataObject) -> None:
    """What a forger can do: any payload, with the container's checksums as they must be."""
    file = kv.compress(make(70, layers=2), **MODES[mode])
    reader = Reader(file)
    chunks = list(reader.chunks())
    which = data.draw(st.integers(0, len(chunks) - 1))
    payload = bytearray(chunks[which].payload)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, min(len(payload) - 1, 400)))
        payload[place] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        payload = payload[: data.draw(st.integers(0, len(payload)))]
    old = chunks[which]
    chunks[which] = Chunk(old.type, old.sequence, bytes(payload), old.symbols_crc)
    read_quietly(write(reader.header, chunks))
    read_quietly(write(reader.header, chunks), partial=True)


@pytest.mark.parametrize(
    "change",
    [
        {"kinds": []},
        {"groups": []},
        {"groups": [[0, 0, 1]]},
        {"groups": [[0, 0, 2], [0, 1, 1]]},
        {"groups": [[1, 0, 2]]},
        {"groups": [[0, 0, 10**9]]},
        {"groups": [[0, 0]]},
        {"groups": [[0, -1, 2]]},
        {"groups": [[True, 0, 2]]},
        {"kinds": [{"shape": [2, 16]}]},
        {"kinds": [{"shape": [2, 0, 16]}]},
        {"kinds": [{"shape": [2, 16, 10**9]}]},
        {"kinds": [{"shape": [2, 16, 16], "rope": {"theta": "NaN", "dim": 16}}]},
        {"kinds": [{"shape": [2, 16, 16], "rope": {"theta": 1e4, "dim": 32}}]},
        {"kinds": [{"shape": [2, 16, 16], "start": -1}]},
        {"position": -1},
        {"position": 2**31},
    ],
)
def test_headers_that_describe_no_cache(make: Make, change: dict[str, Any]) -> None:
    reader = Reader(kv.compress(make(10, layers=2), lossless=True))
    header = reader.header
    field = header.extra[LAYOUT_KEY]
    assert isinstance(field, bytes)
    text = json.dumps({**json.loads(field), **change}).encode()
    for body in (text, text[:-1], b"[" * 5000, b"\xff", b"7"):
        extra = {**header.extra, LAYOUT_KEY: body}
        bad = Header(header.codec, header.codec_version, b"", header.shape, header.dtype, None, extra)
        with pytest.raises(errors.MalformedHeader):
            kv.decompress(write(bad, list(reader.chunks())))


def test_later_versions_and_foreign_codecs(make: Make) -> None:
    reader = Reader(kv.compress(make(10, layers=2), lossless=True))
    header, chunks = reader.header, list(reader.chunks())
    for codec, version, extra in ((64, 1, {}), (65, 0, {}), (64, 0, {21: 1})):
        bad = Header(codec, version, b"", header.shape, header.dtype, None, {**header.extra, **extra})
        with pytest.raises(errors.UnsupportedVersion):
            kv.decompress(write(bad, chunks))
