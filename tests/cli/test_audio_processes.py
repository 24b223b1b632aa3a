"""The installed command on recordings in processes of its own: pipes, imports, memory."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

soundfile = pytest.importorskip("soundfile")
CODEC = str(Path(sys.executable).with_name("codec"))
FORM = struct.pack("<HHIIHH", 1, 1, 16000, 32000, 2, 16)
HEAD = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0" + FORM + b"data\xff\xff\xff\xff"


@pytest.fixture
def environment(audio_models: Path) -> dict[str, str]:
    return dict(os.environ) | {"SIGLUM_MODELS": str(audio_models)}


@pytest.fixture
def coded(environment: dict[str, str], tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "a.wav", np.zeros(16000), 16000)
    command = [CODEC, "encode", "--model", "tiny", str(tmp_path / "a.wav")]
    subprocess.run(command, check=True, env=environment, capture_output=True)
    return tmp_path / "a.sgl"


@pytest.mark.parametrize(
    "arguments", [["--help"], ["encode", "--help"], ["cut", "--help"], ["info", "FILE"]], ids=" ".join
)
def test_neither_torch_nor_soundfile_is_imported(
    arguments: list[str], environment: dict[str, str], coded: Path
) -> None:
    arguments = [str(coded) if argument == "FILE" else argument for argument in arguments]
    done = subprocess.run(
        [CODEC, *arguments],
        env=environment | {"PYTHONPROFILEIMPORTTIME": "1"},
        capture_output=True,
        check=True,
    )
    imported = {line.split(b"|")[-1].strip() for line in done.stderr.splitlines()}
    assert b"click" in imported and not imported & {b"torch", b"soundfile", b"soxr", b"pesq", b"scipy"}


def test_wav_needs_no_soundfile(environment: dict[str, str], coded: Path) -> None:
    (coded.parent / "soundfile.py").write_text("raise ImportError('not here')\n")
    hidden = environment | {"PYTHONPATH": str(coded.parent)}
    for arguments in (["decode", "-f"], ["verify"]):
        subprocess.run([CODEC, *arguments, str(coded)], env=hidden, check=True, capture_output=True)
    flac = subprocess.run(
        [CODEC, "decode", str(coded), "--format", "flac"], env=hidden, check=False, capture_output=True
    )
    assert flac.returncode == 1 and b"need soundfile: pip install soundfile" in flac.stderr
    assert not coded.with_suffix(".flac").exists()


def test_a_live_recording_goes_through_two_pipes(environment: dict[str, str]) -> None:
    """What was said comes out while more is being said."""
    pipe = subprocess.PIPE
    to_code = [CODEC, "encode", "-", "-o", "-", "--quiet", "--model", "tiny"]
    to_sound = [CODEC, "decode", "-", "-o", "-", "--quiet", "--format", "raw"]
    said = (1000 * np.random.default_rng(0).standard_normal(16000 * 12)).astype("<i2").tobytes()
    with (
        subprocess.Popen(to_code, env=environment, stdin=pipe, stdout=pipe) as encode,
        subprocess.Popen(to_sound, env=environment, stdin=encode.stdout, stdout=pipe) as decode,
    ):
        assert encode.stdin is not None and encode.stdout is not None and decode.stdout is not None
        encode.stdout.close()
        encode.stdin.write(HEAD + said[: 16000 * 2 * 10])
        encode.stdin.flush()
        heard = decode.stdout.read(16000 * 2 * 7)  # three seconds later, though the pipe is still open
        encode.stdin.write(said[16000 * 2 * 10 :])
        encode.stdin.close()
        heard += decode.stdout.read()
    assert len(heard) == len(said)
    assert encode.returncode == decode.returncode == 0


def test_a_named_pipe_is_read_as_it_comes(environment: dict[str, str], coded: Path) -> None:
    pipe, out = coded.parent / "pipe", coded.parent / "b.sgl"
    os.mkfifo(pipe)
    command = [CODEC, "encode", "--model", "tiny", str(pipe), "-o", str(out)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        pipe.write_bytes((coded.parent / "a.wav").read_bytes())
        process.communicate(timeout=60)
    assert process.returncode == 0 and out.stat().st_size > 40


def test_what_is_cut_short_leaves_nothing(environment: dict[str, str], tmp_path: Path) -> None:
    command = [CODEC, "encode", "-", "-o", str(tmp_path / "a.sgl"), "--model", "tiny"]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdin is not None
        process.stdin.write(HEAD + bytes(50000))
        process.stdin.flush()
        end = time.monotonic() + 60
        while not list(tmp_path.glob(".siglum.*")) and time.monotonic() < end:
            time.sleep(0.05)
        process.terminate()
        assert process.wait(60) == 128 + 15
    assert list(tmp_path.iterdir()) == []


SPEAK = """
import struct, subprocess, sys
import numpy as np
seconds, rate, source = int(sys.argv[1]), 16000, np.random.default_rng(0)
process = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE)
process.stdin.write(bytes.fromhex(HEAD))
for _ in range(seconds // 10):
    noise = (3000 * source.standard_normal(10 * rate)).astype("<i2")
    process.stdin.write(noise.tobytes())
process.stdin.close()
sys.exit(process.wait())
""".replace("HEAD", repr(HEAD.hex()))


@pytest.mark.slow
@pytest.mark.timeout(1700)
def test_ten_hours_in_little_memory(
    peak_of: Callable[..., int], audio_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGLUM_MODELS", str(audio_models))
    coded, hours = tmp_path / "a.sgl", 10
    speak = (sys.executable, "-c", SPEAK, str(hours * 3600))
    encode = (CODEC, "encode", "-", "-o", str(coded), "--model", "tiny", "-b", "1kbps")
    assert peak_of(*speak, *encode) < 500e6
    assert 0.5 < 8 * coded.stat().st_size / (hours * 3600e3) <= 1
    (tmp_path / "a.raw").symlink_to("/dev/null")
    assert peak_of(CODEC, "decode", str(coded), "-o", str(tmp_path / "a.raw"), "-f") < 500e6
    assert peak_of(CODEC, "cut", str(coded), "--from", "5:00:00", "-o", str(tmp_path / "b.sgl")) < 500e6
    part = (
        CODEC,
        "decode",
        str(coded),
        "-o",
        str(tmp_path / "c.wav"),
        "--from",
        "9:59:00",
        "--to",
        "9:59:10",
    )
    assert peak_of(*part) < 500e6
    assert soundfile.info(tmp_path / "c.wav").frames == 160000
