"""The command line on recordings."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from siglum.cli.audio import AudioSettings
from siglum.cli.main import main
from siglum.codecs.audio.codec import AudioCodec

soundfile = pytest.importorskip("soundfile")
RATE = 22050


def run(*args: object, data: bytes | None = None) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args], input=data)


def done(*args: object, data: bytes | None = None) -> Result:
    result = run(*args, data=data)
    assert result.exit_code == 0, result.output
    return result


def failed(code: int, text: str, *args: object, data: bytes | None = None) -> None:
    result = run(*args, data=data)
    lines = result.stderr.splitlines()
    assert result.exit_code == code and len(lines) == 1 and text in lines[0], result.output
    assert "Traceback" not in result.output and "internal error" not in result.output


def sound(seconds: float = 1.5, channels: int = 1, rate: int = RATE) -> np.ndarray:
    phases = np.arange(int(seconds * rate))[:, None] / rate * np.arange(2, 2 + channels) * 700
    return 0.3 * np.sin(phases) * (1 + np.sin(phases / 300)) / 2


@pytest.fixture(autouse=True)
def _quick(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("siglum.codecs.audio.codec.SPEECH", tiny)
    monkeypatch.setattr("siglum.codecs.audio.codec.FULLBAND", tiny)


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    path = tmp_path / "talk.wav"
    soundfile.write(path, sound(), RATE)
    return path


def test_there_and_back(talk: Path) -> None:
    result = done("encode", talk)
    line = result.stderr.strip()
    assert (
        line.startswith(f"{talk}  66.2 kB -> ") and "kbps  1.5 s  " in line and line.endswith("x real time)")
    )
    assert result.stdout == ""
    coded = talk.with_suffix(".sgl")
    talk.unlink()
    record = json.loads(done("decode", coded, "--json").stdout)
    assert record["samples"] == int(1.5 * RATE) and record["format"] == "wav"
    info = soundfile.info(talk)
    assert (info.samplerate, info.channels, info.frames, info.subtype) == (RATE, 1, int(1.5 * RATE), "PCM_16")
    assert "1.5 s, 22050 Hz, 1 channel" in done("verify", coded).output
    assert json.loads(done("verify", coded, "--json").stdout)["ok"]


@pytest.mark.parametrize(
    ("name", "options", "depth"),
    [
        ("a.flac", {}, 16),
        ("a.wav", {"subtype": "PCM_24"}, 24),
        ("a.wav", {"subtype": "PCM_U8"}, 16),
        ("a.wav", {"subtype": "PCM_32"}, 32),
        ("a.wav", {"subtype": "FLOAT"}, 16),
        ("a.wav", {"subtype": "DOUBLE"}, 16),
        ("a.wav", {"subtype": "ULAW"}, 16),
        ("a.wav", {"format": "WAVEX"}, 16),
        ("a.wav", {"format": "RF64"}, 16),
        ("a.flac", {"subtype": "PCM_24"}, 24),
        ("a.ogg", {}, 16),
        ("a.aiff", {}, 16),
        ("a.mp3", {}, 16),
        ("a.opus", {"format": "OGG", "subtype": "OPUS"}, 16),
        ("a.caf", {}, 16),
        ("a.au", {}, 16),
        ("misnamed.png", {"format": "FLAC"}, 16),
    ],
)
def test_kinds_of_files(name: str, options: dict[str, str], depth: int, tmp_path: Path) -> None:
    path, rate = tmp_path / name, 24000
    soundfile.write(path, sound(1, 2, rate), rate, **options)
    record = json.loads(done("encode", path, "-o", tmp_path / "x.sgl", "--json").stdout)
    assert (record["rate_hz"], record["channels"], record["samples"]) == (rate, 2, rate)
    assert record["output_bytes"] == (tmp_path / "x.sgl").stat().st_size
    done("decode", tmp_path / "x.sgl", "-o", tmp_path / "back.wav")
    info = soundfile.info(tmp_path / "back.wav")
    assert (info.frames, info.channels, info.subtype) == (rate, 2, f"PCM_{depth}")
    # The same in a pipe.
    piped = done("encode", "-", data=path.read_bytes()).stdout_bytes
    again = done("decode", "-", data=piped).stdout_bytes
    assert soundfile.info(io.BytesIO(again)).frames == rate


@pytest.mark.parametrize("name", ["b.wav", "b.flac", "b.ogg", "b.raw"])
def test_written_formats(name: str, talk: Path) -> None:
    coded, out = talk.with_suffix(".sgl"), talk.with_name(name)
    done("encode", talk)
    done("decode", coded, "-o", out)
    if out.suffix == ".raw":
        samples = np.frombuffer(out.read_bytes(), "<i2")[:, None] / 32768
    else:
        samples, rate = soundfile.read(out, always_2d=True)
        assert rate == RATE
    assert samples.shape == (int(1.5 * RATE), 1)
    by_name = talk.with_name("c" + out.suffix)
    done("decode", coded, "--format", out.suffix[1:], "-o", by_name)
    piped = done("decode", coded, "--format", out.suffix[1:], "-o", "-").stdout_bytes
    if out.suffix in (".flac", ".raw"):  # Ogg has a random serial number, WAV another header
        assert piped == by_name.read_bytes() == out.read_bytes()
    if out.suffix == ".wav":
        assert piped == out.read_bytes()


def test_a_rate_and_goals(talk: Path) -> None:
    soundfile.write(talk, sound(20), RATE)
    coded = talk.with_suffix(".sgl")
    done("encode", talk, "-b", "1.2kbps")
    assert 0.7 * 1200 < 8 * coded.stat().st_size / 20 <= 1200
    done("encode", talk, "-f", "--target", "size=2kB")
    assert 1500 < coded.stat().st_size <= 2000
    failed(1, "no file within 30 B is possible for 20.0 s", "encode", talk, "-f", "--target", "size=30B")
    sizes = []
    for quality in (0, 100):
        done("encode", talk, "-f", "-q", quality, "-e", 6)
        sizes.append(coded.stat().st_size)
    assert sizes[0] < sizes[1]
    soundfile.write(talk, sound(0.05), RATE)
    result = done("encode", talk, "-f", "-b", "2kbps")
    assert "too short for 2 kbps" in result.stderr
    failed(2, "bpp and psnr are for pictures", "encode", talk, "-f", "-b", "1bpp")
    failed(2, "bpp and psnr are for pictures", "encode", talk, "-f", "--target", "psnr=30")
    failed(2, "is no target", "encode", talk, "-f", "--target", "pesq=5")
    failed(2, "100 to 1,000,000", "encode", talk, "-f", "-b", "9bps")


def test_a_goal_of_a_measure(talk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: dict[float, int] = {}
    levels: list[float] = []
    make = AudioSettings.codec

    def codec(self: AudioSettings, **config: float) -> AudioCodec:
        levels.append(config["quality"])
        return make(self, **config)

    # What is measured is the quality itself: what the small model makes is no speech.
    monkeypatch.setattr("siglum.cli.audio_target.require", lambda name: None)
    monkeypatch.setattr(AudioSettings, "codec", codec)
    monkeypatch.setattr("siglum.cli.audio_target.measure", lambda name, a, b: 1 + 0.036 * levels[-1])
    for goal in (1.5, 3.0):
        result = done("encode", talk, "-f", "--target", f"pesq={goal}", "--json")
        record = json.loads(result.stdout)
        assert record["pesq"] >= goal > record["pesq"] - 0.036
        sizes[goal] = record["output_bytes"]
    assert sizes[1.5] <= sizes[3.0]
    failed(
        1,
        "PESQ 4.64 cannot be reached, the best quality has 4.60",
        "encode",
        talk,
        "-f",
        "--target",
        "pesq=4.64",
    )


def test_measures_that_are_not_installed(talk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("siglum.cli.audio_measure.find_spec", lambda name: None)
    failed(1, "needs pesq: pip install pesq", "encode", talk, "--target", "pesq=2")
    failed(1, "needs pystoi: pip install pystoi", "encode", talk, "--target", "stoi=0.5")
    done("encode", talk)
    assert "not measured: pip install pesq" in done("compare", talk, talk.with_suffix(".sgl")).output


def test_info(talk: Path) -> None:
    done("encode", talk)
    record = json.loads(done("info", talk.with_suffix(".sgl"), "--json").stdout)
    assert (
        record["codec"] == "audio"
        and record["model_name"] == "tiny"
        and record["shape"] == [int(1.5 * RATE), 1]
    )
    assert (
        record["duration_s"] == pytest.approx(1.5) and record["rate_hz"] == RATE and record["segments"] == 1
    )
    assert record["kbps"] == pytest.approx(8 * record["file_bytes"] / 1.5 / 1000)
    assert record["chunk_s"] == 4 and 4 < record["latency_s"] < 5
    piped = done("encode", "-", data=talk.read_bytes()).stdout_bytes
    assert json.loads(done("info", "-", "--json", data=piped).stdout)["shape"] == [int(1.5 * RATE), 1]
    text = done("info", talk.with_suffix(".sgl")).output
    assert "rate hz" in text and "22050" in text and "latency s" in text


def test_info_needs_no_model(talk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done("encode", talk)
    monkeypatch.setenv("SIGLUM_MODELS", "")
    assert (
        json.loads(done("info", talk.with_suffix(".sgl"), "--json").stdout)["model_name"] == "not installed"
    )
    failed(4, "is not installed", "decode", talk.with_suffix(".sgl"), "-f")


def test_long_recordings_have_a_bar(talk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from siglum.cli import output

    monkeypatch.setattr(output, "LONG", 1.0)
    monkeypatch.setenv("FORCE_COLOR", "1")  # by which rich takes it for a terminal
    monkeypatch.setattr(output.Reporter, "_draws", lambda self: not self.quiet)
    coded = talk.with_suffix(".sgl")
    assert "1.5 s of 1.5 s" in done("encode", talk).stderr
    assert "1.5 s of 1.5 s" in done("decode", coded, "-f").stderr
    assert "of 1.5 s" not in done("decode", coded, "-f", "--quiet").stderr


def test_compare(talk: Path) -> None:
    done("encode", talk)
    coded = talk.with_suffix(".sgl")
    record = json.loads(done("compare", talk, coded, "--json").stdout)
    assert record["si_sdr_db"] < 60 and record["first_samples"] == record["second_samples"]
    lines = done("compare", talk, talk).output.splitlines()
    assert lines[0].endswith("1.5 s") and "inf" in next(line for line in lines if line.startswith("SI-SDR"))
    other = talk.with_name("other.wav")
    soundfile.write(other, sound(rate=8000), 8000)
    failed(2, "rates: 22050 and 8000", "compare", talk, other)
    failed(2, "one is a picture", "compare", talk, Path(__file__).parents[1] / "media" / "kodim23.png")


def test_a_folder(talk: Path) -> None:
    folder = talk.parent / "in"
    (folder / "below").mkdir(parents=True)
    for name in ("a.wav", "b.flac", "below/c.ogg"):
        soundfile.write(folder / name, sound(0.3), RATE)
    (folder / "notes.txt").write_text("no recording")
    (folder / "bad.wav").write_bytes(b"RIFF\0\0\0\0WAVEfmt ")
    result = run("encode", "-r", folder, "--out-dir", talk.parent / "out")
    assert result.exit_code == 5 and "bad.wav: the WAV file ends within its header" in result.stderr
    assert sorted(str(p.relative_to(talk.parent / "out")) for p in (talk.parent / "out").rglob("*.sgl")) == [
        "a.sgl",
        "b.sgl",
        "below/c.sgl",
    ]
    done("decode", "-r", talk.parent / "out", "--out-dir", talk.parent / "back", "--format", "flac")
    assert len(list((talk.parent / "back").rglob("*.flac"))) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--lossless",), "--lossless is not for recordings"),
        (("--psnr",), "--psnr is not for recordings"),
        (("--tune", "ms-ssim"), "--tune is not for recordings"),
        (("--max-error", "1"), "--max-error is not for recordings"),
        (("--engine", "torch"), "--engine is not for recordings"),
        (("--window", "4"), "for key-value caches"),
        (("-c", "image"), "takes no recordings"),
        (("-q", "5", "-b", "3kbps"), "exclude each other"),
    ],
)
def test_options_that_do_not_fit(talk: Path, arguments: tuple[str, ...], message: str) -> None:
    failed(2, message, "encode", talk, *arguments)
    assert not talk.with_suffix(".sgl").exists()


def test_decoding_options_that_do_not_fit(talk: Path) -> None:
    picture = Path(__file__).parents[1] / "media" / "kodim23.png"
    coded = talk.with_suffix(".sgl")
    done("encode", talk)
    failed(2, "not written as png", "decode", coded, "-o", talk.with_name("x.png"))
    failed(2, "--from and --to", "decode", coded, "--crop", "0,0,1,1", "-f")
    failed(2, "--from and --to", "decode", coded, "--tokens", "0:1", "-f")
    failed(2, "codec cut", "truncate", coded, "-o", talk.with_name("x.sgl"), "--chunks", "1")
    failed(
        2,
        "kbps, pesq and stoi are for recordings",
        "encode",
        picture,
        "-b",
        "3kbps",
        "-o",
        talk.with_name("p"),
    )
    failed(3, "not a recording", "encode", picture, "-c", "audio", "-o", talk.with_name("p"))
    failed(3, "not a siglum file but a recording (WAV)", "decode", talk)
    small = talk.with_name("small.sgl")
    done("encode", picture, "-o", small, "-c", "image-fast")
    failed(2, "for recordings", "decode", small, "--from", "1s", "-o", talk.with_name("p.png"))
    failed(2, "no recording", "decode", small, "-o", talk.with_name("p.wav"))


def wav_of(data: bytes, announced: int, whole: int = 0xFFFFFFFF, form: bytes | None = None) -> bytes:
    form = form or struct.pack("<HHIIHH", 1, 1, 8000, 16000, 2, 16)
    head = b"RIFF" + struct.pack("<I", whole) + b"WAVEfmt " + struct.pack("<I", len(form)) + form
    return head + b"LIST" + struct.pack("<I", 3) + b"abc\0" + b"data" + struct.pack("<I", announced) + data


@pytest.mark.parametrize("announced", [0, 0xFFFFFFFF, 0x7FFFFFFF, 32000])
def test_wav_in_a_pipe_whose_length_is_not_known(announced: int, tmp_path: Path) -> None:
    data = wav_of(bytes(32000), announced)
    piped = done("encode", "-", data=data)
    assert json.loads(done("info", "-", "--json", data=piped.stdout_bytes).stdout)["samples"] == 16000
    (tmp_path / "a.wav").write_bytes(data)
    assert json.loads(done("encode", tmp_path / "a.wav", "--json").stdout)["samples"] == 16000


def test_headers_that_lie_about_the_length(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav_of(bytes(32000), 64000))
    result = done("encode", path)
    assert "the header announces 4.00 s, and there are 2.00 s" in result.stderr
    assert json.loads(done("info", tmp_path / "a.sgl", "--json").stdout)["samples"] == 16000
    path.write_bytes(wav_of(bytes(32000), 16000))  # what follows are other chunks
    assert json.loads(done("encode", path, "-f", "--json").stdout)["samples"] == 8000
    path.write_bytes(wav_of(bytes(32001), 32001))
    assert json.loads(done("encode", path, "-f", "--json").stdout)["samples"] == 16000
    soundfile.write(tmp_path / "b.flac", sound(5), RATE)
    data = (tmp_path / "b.flac").read_bytes()
    (tmp_path / "b.flac").write_bytes(data[: len(data) // 2])
    result = run("encode", tmp_path / "b.flac")
    assert result.exit_code == 3 and "damaged" in result.stderr and result.stderr.count("\n") == 1
    assert not (tmp_path / "b.sgl").exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: wav_of(b"", 0)[:30], "ends within its header"),
        (lambda: wav_of(b"", 0, form=struct.pack("<HHIIHH", 1, 9, 8000, 0, 18, 16)), "1 to 8 channels"),
        (lambda: wav_of(b"", 0, form=struct.pack("<HHIIHH", 1, 1, 10**6, 0, 2, 16)), "768000 Hz are coded"),
        (lambda: wav_of(b"", 0, form=struct.pack("<HHIIHH", 1, 1, 100, 0, 2, 16)), "Hz are coded, not 100"),
        (lambda: wav_of(b"", 0, form=struct.pack("<HHIIHH", 1, 0, 8000, 0, 2, 16)), "makes no sense"),
        (lambda: wav_of(b"", 0, form=struct.pack("<HHIIHH", 1, 2, 8000, 0, 3, 16)), "makes no sense"),
        (lambda: wav_of(b"", 0, form=b"\1\0\1\0"), "does not say what its samples are"),
        (
            lambda: wav_of(
                np.full(99, np.nan, "<f4").tobytes(), 396, form=struct.pack("<HHIIHH", 3, 1, 8000, 0, 4, 32)
            ),
            "NaN",
        ),
        (lambda: b"fLaC" + bytes(100), "cannot be read"),
        (lambda: b"OggS" + bytes(100), "cannot be read"),
        (lambda: b"\xff\xfb\x90\x00" + bytes(100), "cannot be read"),
        (lambda: b"FORM\0\0\0\0AIFF" + bytes(100), "cannot be read"),
        (lambda: b"\x7fELF" + bytes(100), "not a picture, a recording or tensors"),
    ],
)
def test_bad_input_is_one_line(make: Callable[[], bytes], message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(make())
    failed(3, message, "encode", path)
    failed(3, message, "encode", "-", data=make())
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]


@pytest.mark.parametrize("length", [0, 1, 2])
@pytest.mark.parametrize("channels", [1, 8])
def test_almost_nothing(length: int, channels: int, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros((length, channels)), 192000)
    done("encode", path)
    done("verify", tmp_path / "a.sgl")
    done("decode", tmp_path / "a.sgl", "-o", tmp_path / "b.wav")
    info = soundfile.info(tmp_path / "b.wav")
    assert (info.frames, info.channels, info.samplerate) == (length, channels, 192000)
    if length:
        done("decode", tmp_path / "a.sgl", "-o", tmp_path / "b.flac")
