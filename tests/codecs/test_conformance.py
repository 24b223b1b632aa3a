"""What every registered codec must do. A codec joins by a sample array here."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import siglum
from siglum import codecs, errors


def wave(shape: tuple[int, ...]) -> np.ndarray:
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]]
    planes = [
        127 + 90 * np.sin(rows / (7 + c)) * np.cos(columns / (5 + c)) for c in range(int(np.prod(shape[2:])))
    ]
    return np.stack(planes, -1).reshape(shape).astype(np.uint8)


def noise(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return (20 * np.random.default_rng(1).standard_normal(shape)).astype(dtype)


def cache(tokens: int, dtype: str) -> np.ndarray:
    values = np.random.default_rng(0).standard_normal((2, 2, 2, tokens, 16)).cumsum(axis=-1)
    return values.astype(dtype)


def tones(length: int, channels: int) -> np.ndarray:
    phases = np.arange(length)[:, None] * np.arange(1, channels + 1) / 20
    return (0.3 * np.sin(phases) * np.cos(np.arange(length) / 3000)[:, None]).astype(np.float32)


SAMPLES = {
    "audio": [tones(9000, 1), tones(5001, 2)],
    "image": [wave((70, 53, 3)), wave((33, 40)), wave((40, 41, 4))],
    "image-vq": [wave((70, 53, 3)), wave((33, 40)), wave((40, 41, 4))],
    "image-fast": [wave((70, 53, 3)), wave((33, 40)), wave((40, 41, 4))],
    "kv": [cache(70, "float16"), cache(3, "float32")],
    "tensor": [noise((40, 50), "float32"), noise((300,), "int64")],
}
BY_NAME_ONLY = {"audio", "image-vq", "image-fast"}  # codecs that no array picks by its shape
CASES = [(name, i) for name, arrays in SAMPLES.items() for i in range(len(arrays))]

SCRIPT = """
import sys
from pathlib import Path
import numpy as np
import siglum
for path in sys.argv[2:]:
    np.save(path + ".npy", siglum.decode(Path(path).read_bytes(), threads=int(sys.argv[1])))
"""


def test_every_codec_of_this_package_has_a_sample() -> None:
    assert set(codecs.NAMES.values()) == set(SAMPLES)


@pytest.mark.parametrize(("name", "case"), CASES)
def test_round_trip_by_header_alone(name: str, case: int) -> None:
    array = SAMPLES[name][case]
    assert name in BY_NAME_ONLY or codecs.codec_of_array(array) == name
    out = siglum.decode(siglum.encode(array, codec=name))
    assert (out.shape, out.dtype) == (array.shape, array.dtype)


@pytest.mark.parametrize("name", SAMPLES)
def test_config_round_trips(name: str) -> None:
    codec = codecs.get(name)
    settings = json.loads(json.dumps(codec.config.to_dict()))
    assert codecs.get(name, **settings).config == codec.config
    assert codecs.name_of_id(codec.id) == name


@pytest.mark.parametrize(("name", "case"), CASES)
def test_the_same_bytes_from_the_same_codec(name: str, case: int) -> None:
    digests = {
        hashlib.sha256(codecs.get(name, threads=1).encode(SAMPLES[name][case])).digest() for _ in range(2)
    }
    assert len(digests) == 1


@pytest.mark.parametrize("name", SAMPLES)
def test_other_processes_and_thread_counts_decode_the_same(name: str, tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.sgl" for i in range(len(SAMPLES[name]))]
    for path, array in zip(paths, SAMPLES[name], strict=True):
        path.write_bytes(siglum.encode(array, codec=name))
    for threads in ("1", "2"):
        subprocess.run([sys.executable, "-c", SCRIPT, threads, *map(str, paths)], check=True)
        for path in paths:  # symbols are checked by their CRC inside; samples agree within one level
            here, there = siglum.decode(path.read_bytes()).astype(int), np.load(f"{path}.npy")
            assert np.max(np.abs(here - there)) <= 1


@pytest.mark.parametrize(("name", "case"), CASES)
def test_every_flipped_bit_and_every_cut_is_an_error(name: str, case: int) -> None:
    data = siglum.encode(SAMPLES[name][case], codec=name)
    random = np.random.default_rng(0)
    for place in range(min(len(data), 64)):
        with pytest.raises(errors.BitstreamError):
            siglum.decode(data[:place])
    for place in random.integers(0, len(data), 40):
        with pytest.raises(errors.BitstreamError):
            siglum.decode(data[:place])
        bad = bytearray(data)
        bad[place] ^= 1 << random.integers(8)
        with pytest.raises(errors.BitstreamError):
            siglum.decode(bytes(bad))


def test_unknown_names_and_ids() -> None:
    with pytest.raises(errors.UnknownCodecError, match="image"):
        siglum.encode(SAMPLES["image"][0], codec="imag")
    from siglum.codecs.container import Chunk, ChunkType, Header, write

    data = write(Header(100, 0, b"", (4,), "uint8"), [Chunk(ChunkType.DATA, 0, b"x")])
    with pytest.raises(errors.UnsupportedVersion):
        siglum.decode(data)
    assert siglum.inspect(data).codec is None


class Negative:
    """A codec of another package: gray pictures, inverted, raw."""

    id = 200
    version = 0

    def __init__(self, offset: int = 255) -> None:
        self.offset = offset

    def encode(self, array: np.ndarray) -> bytes:
        from siglum.codecs.container import Chunk, ChunkType, Header, write

        payload = (self.offset - array).astype(np.uint8).tobytes()
        return write(Header(self.id, 0, b"", array.shape, "uint8"), [Chunk(ChunkType.DATA, 0, payload)])

    def decode_array(self, data: bytes, limits: object = None) -> np.ndarray:
        from siglum.codecs.container import Reader

        reader = Reader(data)
        payload = next(iter(reader.chunks())).payload
        return self.offset - np.frombuffer(payload, np.uint8).reshape(reader.header.shape)


def test_a_codec_of_another_package_works_through_the_public_face(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(codecs.CODECS._entries, "negative", Negative)
    array = wave((9, 12))
    data = siglum.encode(array, codec="negative")
    assert np.array_equal(siglum.decode(data), array)
    assert siglum.inspect(data).codec == "negative"
    assert siglum.inspect(data).lossless is None
