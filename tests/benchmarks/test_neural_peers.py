"""The adapters of neural codecs against doubles of their packages: their weights are nowhere to be had here."""

from __future__ import annotations

import io
import json
import struct
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from siglum.benchmarks import peers_neural_audio
from siglum.benchmarks.coder import MissingPeer, make
from siglum.benchmarks.items import Audio
from siglum.benchmarks.measure import fitting
from siglum.errors import UnsupportedInputError

torch = pytest.importorskip("torch")
pytest.importorskip("av")


def noise(rate: int, channels: int) -> Audio:
    values = np.random.default_rng(channels).uniform(-0.5, 0.5, (channels, rate // 4))
    return Audio(values.astype(np.float32), rate)


class Model:
    """Samples as bytes: with the bandwidth as its number of codebooks."""

    def __init__(self, name: str) -> None:
        self.name, self.bandwidth = name, 0.0

    def eval(self) -> Model:
        return self

    def set_target_bandwidth(self, bandwidth: float) -> None:
        self.bandwidth = bandwidth


@pytest.fixture
def encodec(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    package, module = ModuleType("encodec"), ModuleType("encodec.compress")
    folder = tmp_path / "hub" / "checkpoints"

    def model(name: str) -> Any:
        def load(repository: Path) -> Model:
            assert repository == folder
            return Model(name)

        return load

    def compress(codec: Model, wave: Any, use_lm: bool) -> bytes:
        assert not use_lm and codec.bandwidth
        head = json.dumps({"m": codec.name, "c": len(wave)}).encode()
        body = wave.numpy().astype("<f4").tobytes()
        return struct.pack("!4sBI", b"ECDC", 0, len(head)) + head + body

    def decompress(data: bytes) -> tuple[Any, int]:
        (size,) = struct.unpack_from("!I", data, 5)
        head = json.loads(data[9 : 9 + size])
        assert isinstance(module.MODELS[head["m"]](), Model)
        return torch.from_numpy(np.frombuffer(data[9 + size :], "<f4").copy()).reshape(head["c"], -1), 0

    package.EncodecModel = SimpleNamespace(  # type: ignore[attr-defined]
        encodec_model_24khz=model("encodec_24khz"), encodec_model_48khz=model("encodec_48khz")
    )
    module.compress, module.decompress = compress, decompress  # type: ignore[attr-defined]
    module.MODELS = {"encodec_24khz": None, "encodec_48khz": None}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "encodec", package)
    monkeypatch.setitem(sys.modules, "encodec.compress", module)
    monkeypatch.setattr(peers_neural_audio, "version", lambda name: "0")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(folder.parent))
    peers_neural_audio._encodec.cache_clear()
    return folder


@pytest.mark.parametrize("name,channels", [("encodec-24khz", 1), ("encodec-24khz", 2), ("encodec-48khz", 2)])
def test_encodec_runs_where_its_weights_are(encodec: Path, name: str, channels: int) -> None:
    with pytest.raises(MissingPeer, match=r"its weights are not on disk; encodec_.* goes into"):
        make(name)
    rate, _, dials, file = peers_neural_audio.ENCODEC[name]
    encodec.mkdir(parents=True)
    (encodec / file).touch()
    coder = make(name)
    assert coder.dials == dials
    original = noise(rate, channels)
    data = coder.encode(original, 6.0)
    assert np.array_equal(fitting(original, coder.decode(data)).samples, original.samples)
    assert coder.payload is not None and coder.payload(data) == original.samples.nbytes < len(data)
    if name == "encodec-48khz":
        with pytest.raises(UnsupportedInputError, match="codes two channels"):
            coder.encode(noise(rate, 1), 6.0)


def test_dac_runs_where_its_weights_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Signal:
        def __init__(self, data: Any, rate: int) -> None:
            self.audio_data, self.sample_rate = data, rate

    class File:
        def __init__(self, signal: Signal, count: int) -> None:
            self.signal, self.count = signal, count

        def save(self, path: Path) -> Path:
            codes = np.zeros((1, self.count, 7), np.uint16)
            sound = {"samples": self.signal.audio_data.numpy(), "rate": self.signal.sample_rate}
            with path.open("wb") as file:
                np.save(file, np.array({"codes": codes, "sound": sound}, object))
            return path

    class Codec:
        def eval(self) -> Codec:
            return self

        def compress(self, signal: Signal, n_quantizers: int) -> File:
            return File(signal, n_quantizers)

        def decompress(self, path: Path) -> Signal:
            sound = np.load(path, allow_pickle=True)[()]["sound"]
            return Signal(torch.from_numpy(sound["samples"]), sound["rate"])

    package, tools = ModuleType("dac"), ModuleType("audiotools")
    package.DAC = SimpleNamespace(load=lambda path: Codec())  # type: ignore[attr-defined]
    tools.AudioSignal = Signal  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dac", package)
    monkeypatch.setitem(sys.modules, "audiotools", tools)
    monkeypatch.setattr(peers_neural_audio, "version", lambda name: "0")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    with pytest.raises(
        MissingPeer, match=r"its weights are not on disk; weights_44khz_8kbps_0.0.1.pth goes into"
    ):
        make("dac-44khz")
    weights = tmp_path / ".cache" / "descript" / "dac" / "weights_44khz_8kbps_0.0.1.pth"
    weights.parent.mkdir(parents=True)
    weights.touch()
    coder, original = make("dac-44khz"), noise(44100, 2)
    data = coder.encode(original, 9.0)
    assert np.array_equal(coder.decode(data).samples, original.samples)
    assert coder.payload is not None and coder.payload(data) == (9 * 7 * 10 + 7) // 8
    assert np.load(io.BytesIO(data), allow_pickle=True)[()]["codes"].dtype == np.uint16


@pytest.mark.parametrize(
    "name,package", [("encodec-24khz", "encodec"), ("dac-16khz", "descript-audio-codec")]
)
def test_what_is_not_installed_is_named(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, {"descript-audio-codec": "dac"}.get(package, package), None)
    with pytest.raises(MissingPeer, match=f"{name} needs {package} .*: pip install {package}"):
        make(name)
    assert "torchaudio" not in sys.modules or sys.modules["torchaudio"].__spec__ is not None
