from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from siglum.benchmarks import coder, peers_audio
from siglum.benchmarks.audio import read_audio, resample
from siglum.benchmarks.coder import CATALOGUE, Coder, MissingPeer, make
from siglum.benchmarks.items import Audio, Item, load
from siglum.benchmarks.measure import fitting, playable
from siglum.benchmarks.metrics import psnr
from siglum.errors import BitstreamError, UnsupportedInputError, UsageError

PICTURE = Path(__file__).parents[1] / "media" / "kodim23.png"


def made(name: str) -> Coder:
    try:
        return make(name)
    except MissingPeer as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """A part of a photograph, (192, 208, 3) uint8."""
    return np.ascontiguousarray(np.asarray(Image.open(PICTURE).convert("RGB"))[200:392, 300:508])


@pytest.mark.parametrize("name", [name for name, (medium, _) in CATALOGUE.items() if medium == "image"])
def test_picture_peers_grow_with_their_dials_and_repeat_themselves(name: str, picture: np.ndarray) -> None:
    peer = made(name)
    sizes, qualities = [], []
    for dial in peer.quick:
        data = peer.encode(picture, dial)
        assert peer.encode(picture, dial) == data
        decoded = peer.decode(data)
        assert decoded.shape == picture.shape and decoded.dtype == np.uint8
        sizes.append(len(data))
        qualities.append(psnr(picture, decoded))
    assert len(peer.quick) >= 3 and sizes == sorted(sizes) and qualities == sorted(qualities)
    assert set(peer.quick) <= set(peer.dials) and peer.dials == tuple(sorted(peer.dials))  # type: ignore[type-var]
    assert peer.settings(peer.dials[0]) != peer.settings(peer.dials[1]) and peer.version
    assert qualities[-1] > 30


def test_jpeg_is_progressive_optimised_and_subsampled(picture: np.ndarray) -> None:
    for name, factors in (("jpeg", 0x22), ("jpeg-444", 0x11)):
        data = made(name).encode(picture, 50)
        assert b"\xff\xc2" in data and b"\xff\xc0" not in data  # a progressive frame, no baseline one
        at = data.index(b"\xff\xc2")
        assert data[at + 9 : at + 13] == bytes([3, 1, factors, 0])  # the sampling factors of luma


def test_jpeg2000_has_the_rate_that_it_is_asked_for(picture: np.ndarray) -> None:
    peer = made("jpeg2000")
    for rate in (0.5, 1.0, 2.0):
        assert 8 * len(peer.encode(picture, rate)) / picture[..., 0].size == pytest.approx(rate, rel=0.06)


def test_what_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingPeer, match=r"x needs some-package: pip install 'siglum\[peers\]'"):
        coder.needs("some-package", "no_such_module", "x")
    monkeypatch.setattr(features, "check_module", lambda name: False)
    monkeypatch.setattr(features, "check_codec", lambda name: False)
    for name in ("jpeg", "jpeg2000", "webp", "avif"):
        with pytest.raises(MissingPeer, match=f"{name}: this Pillow was built without"):
            make(name)
    with pytest.raises(UsageError, match="unknown codec 'gif'"):
        make("gif")


def sound(rate: int, channels: int, seconds: float = 0.7) -> Audio:
    """A chord with a little noise, in tune in both channels but not equally loud."""
    at = np.arange(round(rate * seconds)) / rate
    tones = sum(np.sin(2 * np.pi * hertz * at) / 6 for hertz in (220, 550, 1320))
    noise = np.random.default_rng(3).normal(0, 0.005, (channels, len(at)))
    samples = tones * np.array([1.0, 0.6])[:channels, None] * np.minimum(1, at * 20) + noise
    return Audio(samples.astype(np.float32), rate)


@pytest.mark.parametrize("rate,channels", [(16000, 1), (44100, 2)])
@pytest.mark.parametrize("name", [name for name, (_, where) in CATALOGUE.items() if "peers_audio" in where])
def test_audio_peers_keep_length_rate_and_the_sound(name: str, rate: int, channels: int) -> None:
    peer = made(name)
    pytest.importorskip("av")
    original = sound(rate, channels)
    data = peer.encode(original, peer.dials[-2])
    assert peer.encode(original, peer.dials[-2]) == data
    decoded = fitting(original, peer.decode(data), peer.slack)
    assert decoded.rate == rate and decoded.samples.shape == original.samples.shape
    x, y = original.samples.ravel(), decoded.samples.ravel()
    assert float(x @ y) / np.linalg.norm(x) / np.linalg.norm(y) > (
        0.85 if name == "opus-voip" else 0.97
    )  # aligned, too
    assert len(data) > len(peer.encode(original, peer.dials[0]))
    assert peer.payload is not None and 0.1 * len(data) < peer.payload(data) < len(data)


def test_opus_is_tried_at_its_lowest_rates() -> None:
    peer = made("opus-voip")
    original = sound(16000, 1, 4.0)
    sizes = [8 * len(peer.encode(original, dial)) / 4000 for dial in peer.dials[:3]]
    assert peer.dials[0] == 5 and sizes[0] < 6 and sizes == sorted(sizes)
    assert peer.settings(5)["application"] == "voip" and made("opus").settings(6)["application"] == "audio"


def test_sound_is_read_resampled_and_played(tmp_path: Path) -> None:
    pytest.importorskip("av")
    original = sound(44100, 2)
    suffix, wav = playable("audio", original)
    (tmp_path / f"a{suffix}").write_bytes(wav)
    again = load(Item("a.wav", "audio", tmp_path / "a.wav"))
    assert again.rate == 44100 and np.abs(again.samples - original.samples).max() < 1e-4
    assert resample(original, 22050).samples.shape[1] == pytest.approx(original.samples.shape[1] / 2, abs=2)
    with pytest.raises(ValueError, match="samples became"):
        fitting(original, Audio(original.samples[:, :-3000], 44100))
    with pytest.raises(ValueError, match="2 channels became 1"):
        fitting(original, Audio(original.samples[:1], 44100))
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "PNG")
    with pytest.raises(UnsupportedInputError, match="there is no sound in it"):
        read_audio(io.BytesIO(file.getvalue()))


def test_ogg_checksums_are_those_of_the_format() -> None:
    assert (
        peers_audio._ogg_crc(b"123456789") == 0x89A1897F
    )  # CRC-32 of this polynomial, start 0, not inverted


ARRAYS = {
    "walk": np.cumsum(np.random.default_rng(1).normal(size=(40, 70)), axis=1).astype(np.float32),
    "half": np.random.default_rng(2).normal(size=(3, 5, 2, 4, 6)).astype(np.float16),
    "double": np.linspace(-1, 1, 999),
    "short": np.arange(-32768, 32768, 7, dtype=np.int16),
    "scalar": np.array(3.5, np.float32),
}


@pytest.mark.parametrize("name", ["zstd", "lz4"])
@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_lossless_peers_give_every_bit_back(name: str, array: np.ndarray) -> None:
    peer = made(name)
    for dial in (peer.dials[0], peer.dials[-1]):
        decoded = peer.decode(peer.encode(array, dial))
        assert decoded.dtype == array.dtype and decoded.shape == array.shape
        assert decoded.tobytes() == array.tobytes()
    with pytest.raises(BitstreamError):
        peer.decode(b"\x02")


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_zfp_keeps_type_and_shape_and_its_error_falls(array: np.ndarray) -> None:
    peer = made("zfp")
    errors = []
    for dial in peer.quick:
        decoded = peer.decode(peer.encode(array, dial))
        assert decoded.dtype == array.dtype and decoded.shape == array.shape
        errors.append(float(np.abs(decoded.astype(float) - array).max()))
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.02 * (np.abs(array).max() + 1)


def test_arrays_of_files(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    from siglum.benchmarks.items import find

    save_file({"b": ARRAYS["walk"], "a/c": ARRAYS["half"]}, tmp_path / "m.safetensors")
    np.save(tmp_path / "x.npy", ARRAYS["short"])
    np.save(tmp_path / "y.npy", np.array(["text"]))
    (tmp_path / "z.safetensors").write_bytes(b"nothing of the kind")
    items = {item.name: item for item in find([tmp_path])[0].items}
    assert list(items) == ["m.safetensors#a/c", "m.safetensors#b", "x.npy", "y.npy", "z.safetensors"]
    assert np.array_equal(load(items["m.safetensors#b"]), ARRAYS["walk"])
    assert load(items["x.npy"]).dtype == np.int16
    with pytest.raises(UnsupportedInputError, match="an array of <U4"):
        load(items["y.npy"])
    with pytest.raises(Exception, match=r"(?i)header|deserializ"):
        load(items["z.safetensors"])


def test_bfloat16_is_read_as_float32(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    values = torch.linspace(-3, 3, 30).reshape(5, 6).to(torch.bfloat16)
    save_file({"a": torch.ones(7), "b": values}, tmp_path / "m.safetensors")
    array = load(Item("m#b", "tensor", tmp_path / "m.safetensors", "b"))
    assert array.dtype == np.float32 and np.array_equal(array, values.float().numpy())
