from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import siglum
from siglum.codecs.image.codec import ImageCodec
from siglum.errors import BitstreamError

PICTURE = Path(__file__).parents[2] / "media" / "kodim23.png"


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    """RGB, RGBA and gray pictures of two sizes."""
    with Image.open(PICTURE) as image:
        photo = np.asarray(image.convert("RGBA")).copy()
    photo[..., 3] = np.arange(photo.shape[1]) % 256
    parts = [photo[y : y + 80, x : x + 118] for y, x in ((150, 250), (200, 300), (100, 100))]
    return [
        parts[0][..., :3],
        parts[1],
        photo[:90, :70, :3],
        parts[2][..., 0],
        np.zeros((80, 118, 3), np.uint8),
    ]


@pytest.mark.parametrize("lossless", [None, True])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_batch_is_its_pictures(pictures: list[np.ndarray], lossless: bool | None, threads: int) -> None:
    codec = ImageCodec(quality=50, lossless=lossless, threads=threads)
    files = codec.encode_batch(pictures)
    assert files == [codec.encode(picture) for picture in pictures]
    for data, picture in zip(files, codec.decode_batch(files), strict=True):
        assert (picture == codec.decode_array(data)).all()


def test_a_batch_in_torch(pictures: list[np.ndarray]) -> None:
    pytest.importorskip("torch")
    codec = ImageCodec(quality=70, engine="torch", threads=2)
    files = codec.encode_batch(pictures)
    for data, picture, decoded in zip(files, pictures, codec.decode_batch(files), strict=True):
        alone = ImageCodec().decode_array(data).astype(int)
        assert decoded.shape == picture.shape
        assert np.abs(decoded - alone).max() <= 1
        size = len(ImageCodec(quality=70).encode(picture))
        assert abs(len(data) - size) <= 0.01 * size + 4


def test_the_public_functions(pictures: list[np.ndarray]) -> None:
    files = siglum.encode_batch(pictures[:2], quality=40)
    assert files == [siglum.encode(picture, quality=40) for picture in pictures[:2]]
    decoded = siglum.decode_batch(files, threads=1)
    assert all((a == siglum.decode(b)).all() for a, b in zip(decoded, files, strict=True))
    tensors = [np.arange(5.0), np.arange(7.0)]
    back = siglum.decode_batch(siglum.encode_batch(tensors))
    assert all((a == b).all() for a, b in zip(back, tensors, strict=True))
    assert siglum.encode_batch([]) == siglum.decode_batch([]) == []


@pytest.mark.parametrize("engine", ["native", "torch"])
def test_a_damaged_file_of_a_batch(pictures: list[np.ndarray], engine: str) -> None:
    if engine == "torch":
        pytest.importorskip("torch")
    files = ImageCodec().encode_batch(pictures[:2])
    with pytest.raises(BitstreamError):
        ImageCodec(engine=engine).decode_batch([files[0], files[1][:-20]])
