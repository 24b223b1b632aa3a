"""Neural audio codecs of others, where their weights are on disk; nothing is downloaded.

EnCodec (Défossez et al., TMLR 2023) writes its own .ecdc, codes packed without the language model. DAC (Kumar et al.,
NeurIPS 2023) writes its own .dac, which is a pickle and holds each code of 10 bits in 16. Neither file says what the
recording's rate was, and both work at the model's; the comparison is at the recording's.
"""

from __future__ import annotations

import io
import struct
import sys
import tempfile
from functools import lru_cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from siglum.benchmarks.audio import resample
from siglum.benchmarks.coder import Coder, Dial, MissingPeer
from siglum.benchmarks.items import Audio
from siglum.errors import UnsupportedInputError

# Name -> samples a second, channels, bandwidths in kilobits a second, the file of the weights.
ENCODEC: dict[str, tuple[int, int, tuple[float, ...], str]] = {
    "encodec-24khz": (24000, 1, (1.5, 3, 6, 12, 24), "encodec_24khz-d7cc33bc.th"),
    "encodec-48khz": (48000, 2, (3, 6, 12, 24), "encodec_48khz-7e698e3e.th"),
}
# Name -> samples a second, numbers of codebooks, the file of the weights.
DAC: dict[str, tuple[int, tuple[int, ...], str]] = {
    "dac-16khz": (16000, (1, 2, 4, 6, 12), "weights_16khz_8kbps_0.0.5.pth"),
    "dac-24khz": (24000, (2, 4, 8, 16, 32), "weights_24khz_8kbps_0.0.4.pth"),
    "dac-44khz": (44100, (1, 2, 3, 6, 9), "weights_44khz_8kbps_0.0.1.pth"),
}
_ECDC_HEAD = struct.Struct("!4sBI")  # magic, version, length of the JSON that follows
_PART = struct.Struct("<I")


def encodec(name: str, threads: int) -> Coder:
    """A model of EnCodec; its dial is the nominal bandwidth of a channel, or of both of the stereo model.

    Raises
    ------
    MissingPeer
        If EnCodec is not installed, or its weights are not in torch's folder of checkpoints.
    """
    rate, channels, dials, file = ENCODEC[name]
    _import("encodec", name)
    folder = _checkpoints()
    if not (folder / file).is_file():
        raise MissingPeer(f"{name}: its weights are not on disk; {file} goes into {folder}")

    def encode(audio: Audio, dial: Dial) -> bytes:
        wanted = resample(audio, rate).samples
        if channels == 2:
            if len(wanted) != 2:
                raise UnsupportedInputError(f"{name} codes two channels, and this has one")
            return _ecdc(name, threads, wanted, dial)
        # The format has no second channel: a file for each, with their lengths.
        files = [_ecdc(name, threads, channel[None], dial) for channel in wanted]
        return files[0] if len(files) == 1 else b"".join(_PART.pack(len(each)) + each for each in files)

    def decode(data: bytes) -> Audio:
        return Audio(np.concatenate([_from_ecdc(name, threads, each) for each in _parts(data)]), rate)

    return Coder(
        name,
        "audio",
        ".ecdc",
        dials,
        quick=(dials[0], dials[len(dials) // 2], dials[-1]),
        version=f"encodec {version('encodec')}, torch {version('torch')}",
        encode=encode,
        decode=decode,
        settings=lambda dial: {"kbps": dial, "model": file, "language_model": False, "device": "cpu"},
        threads=threads,
        payload=lambda data: sum(
            len(each) - _ECDC_HEAD.size - _ECDC_HEAD.unpack_from(each)[2] for each in _parts(data)
        ),
    )


def dac(name: str, threads: int) -> Coder:
    """A model of the Descript Audio Codec; its dial is the number of codebooks.

    Raises
    ------
    MissingPeer
        If it is not installed, or its weights are not where its own download would put them.
    """
    rate, dials, file = DAC[name]
    _import("dac", name)
    path = Path.home() / ".cache" / "descript" / "dac" / file
    if not path.is_file():
        raise MissingPeer(f"{name}: its weights are not on disk; {file} goes into {path.parent}")

    def encode(audio: Audio, dial: Dial) -> bytes:
        import torch

        torch.set_num_threads(threads)
        signal = import_module("audiotools").AudioSignal(torch.from_numpy(audio.samples)[None], audio.rate)
        with tempfile.TemporaryDirectory() as folder:
            made = _dac(str(path)).compress(signal, n_quantizers=round(dial or 1))
            return Path(made.save(Path(folder) / "a.dac")).read_bytes()

    def decode(data: bytes) -> Audio:
        import torch

        torch.set_num_threads(threads)
        with tempfile.TemporaryDirectory() as folder:
            whole = Path(folder) / "a.dac"
            whole.write_bytes(data)  # it was written above: its pickle is this process's own
            signal = _dac(str(path)).decompress(whole)
        return Audio(np.ascontiguousarray(signal.audio_data[0].numpy(), np.float32), int(signal.sample_rate))

    def payload(data: bytes) -> int:
        codes = np.load(io.BytesIO(data), allow_pickle=True)[()]["codes"]
        return int(codes.size * 10 + 7) // 8

    return Coder(
        name,
        "audio",
        ".dac",
        tuple(map(float, dials)),
        quick=tuple(map(float, (dials[0], dials[2], dials[-1]))),
        version=f"descript-audio-codec {version('descript-audio-codec')}, torch {version('torch')}",
        encode=encode,
        decode=decode,
        settings=lambda dial: {"codebooks": round(dial or 1), "model": file, "rate": rate, "device": "cpu"},
        threads=threads,
        slack=2048,
        payload=payload,
    )


def _import(module: str, name: str) -> Any:
    """Import a package that imports torchaudio for reading files, which nothing here asks of it."""
    held = None
    if "torchaudio" not in sys.modules:
        try:
            import_module("torchaudio")
        except (ImportError, OSError, RuntimeError):  # absent, or built for another torch
            held = sys.modules["torchaudio"] = ModuleType("torchaudio")
    try:
        return import_module(module)
    except (ImportError, AttributeError) as error:
        package = {"dac": "descript-audio-codec"}.get(module, module)
        raise MissingPeer(f"{name} needs {package} ({error}): pip install {package}") from error
    finally:
        if held is not None:
            sys.modules.pop("torchaudio", None)


def _checkpoints() -> Path:
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints"


@lru_cache(maxsize=2)
def _encodec(name: str) -> Any:
    models = import_module("encodec").EncodecModel
    make = models.encodec_model_24khz if ENCODEC[name][1] == 1 else models.encodec_model_48khz
    return make(repository=_checkpoints()).eval()


@lru_cache(maxsize=2)
def _dac(path: str) -> Any:
    return import_module("dac").DAC.load(path).eval()


def _ecdc(name: str, threads: int, samples: Any, dial: Dial) -> bytes:
    import torch

    torch.set_num_threads(threads)
    model = _encodec(name)
    model.set_target_bandwidth(dial)
    wave = torch.from_numpy(np.ascontiguousarray(samples, np.float32))
    return bytes(import_module("encodec.compress").compress(model, wave, use_lm=False))


def _from_ecdc(name: str, threads: int, data: bytes) -> Any:
    import torch

    torch.set_num_threads(threads)
    module = import_module("encodec.compress")
    model = _encodec(name)
    # Its decoder makes the model that a file names anew, every time: here it gets the one that is there.
    before = module.MODELS[model.name]
    module.MODELS[model.name] = lambda: model
    try:
        return module.decompress(data)[0].numpy()
    finally:
        module.MODELS[model.name] = before


def _parts(data: bytes) -> list[bytes]:
    if data[:4] == b"ECDC":
        return [data]
    parts, at = [], 0
    while at < len(data):
        (size,) = _PART.unpack_from(data, at)
        at += _PART.size
        parts.append(data[at : at + size])
        at += size
    return parts
