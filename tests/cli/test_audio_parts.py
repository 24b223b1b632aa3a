"""Cutting, joining, decoding a part, and damaged recordings, at a shell."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from siglum.cli.main import main

soundfile = pytest.importorskip("soundfile")
RATE = 16000


def run(*args: object, data: bytes | None = None) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args], input=data)


def done(*args: object, data: bytes | None = None) -> Result:
    result = run(*args, data=data)
    assert result.exit_code == 0, result.output
    return result


def samples_of(path: Path) -> np.ndarray:
    return soundfile.read(path, dtype="int16")[0]


@pytest.fixture(autouse=True)
def _quick(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("siglum.codecs.audio.codec.SPEECH", tiny)
    monkeypatch.setattr("siglum.codecs.audio.codec.FULLBAND", tiny)


@pytest.fixture
def coded(tmp_path: Path) -> Path:
    """Twenty seconds, in chunks of four, and whole.wav, what they decode to."""
    path = tmp_path / "talk.wav"
    noise = 0.1 * np.random.default_rng(0).standard_normal(20 * RATE)
    soundfile.write(path, noise, RATE)
    done("encode", path)
    done("decode", tmp_path / "talk.sgl", "-o", tmp_path / "whole.wav")
    return tmp_path / "talk.sgl"


def test_cut_decode_and_join_are_exact(coded: Path) -> None:
    whole, part = samples_of(coded.with_name("whole.wav")), coded.with_name("part.wav")
    for start, stop, first, last in (
        ("3s", "7.5s", 3 * RATE, 15 * RATE // 2),
        ("0:10", "0:12.25", 10 * RATE, 49 * RATE // 4),
        ("15999samples", "16000ms", 15999, 16 * RATE),
    ):
        done("cut", coded, "--from", start, "--to", stop, "-o", coded.with_name("cut.sgl"), "-f")
        done("decode", coded.with_name("cut.sgl"), "-o", part, "-f")
        assert np.array_equal(samples_of(part), whole[first:last])
        done("decode", coded, "--from", start, "--to", stop, "-o", part, "-f")
        assert np.array_equal(samples_of(part), whole[first:last])
    names = [coded.with_name(name) for name in ("a.sgl", "b.sgl", "c.sgl")]
    for name, span in zip(
        names, (("--to", "4s"), ("--from", "4s", "--to", "9s"), ("--from", "9s")), strict=True
    ):
        result = done("cut", coded, *span, "-o", name)
        assert ", 20.0 s -> " in result.stderr
    record = json.loads(done("join", *names, "-o", coded.with_name("all.sgl"), "--json").stdout)
    assert record["samples"] == 20 * RATE
    done("decode", coded.with_name("all.sgl"), "-o", part, "-f")
    assert np.array_equal(samples_of(part), whole)
    assert json.loads(done("info", coded.with_name("all.sgl"), "--json").stdout)["segments"] == 3


def test_in_pipes(coded: Path) -> None:
    whole = samples_of(coded.with_name("whole.wav"))
    part = done("cut", "-", "--from", "5s", "-o", "-", data=coded.read_bytes()).stdout_bytes
    raw = done("decode", "-", "--from", "1s", "--format", "raw", data=part).stdout_bytes
    assert np.array_equal(np.frombuffer(raw, "<i2"), whole[6 * RATE :])


def test_what_cannot_be_cut_or_joined(coded: Path) -> None:
    out, other = coded.with_name("out.sgl"), coded.with_name("other.wav")
    picture = Path(__file__).parents[1] / "media" / "kodim23.png"
    soundfile.write(other, np.zeros((RATE, 2)), RATE)
    done("encode", other)
    small = coded.with_name("small.sgl")
    done("encode", picture, "-o", small, "-c", "image-fast")
    for code, text, *arguments in (
        (2, "nothing lies there", "cut", coded, "--from", "20s", "-o", out),
        (2, "nothing lies there", "cut", coded, "--from", "5s", "--to", "5s", "-o", out),
        (2, "is no time", "cut", coded, "--from", "5", "-o", out),
        (2, "is no time", "decode", coded, "--to", "1:99", "-o", out.with_suffix(".wav")),
        (2, "only recordings are cut", "cut", small, "-o", out),
        (2, "only recordings are joined", "join", coded, small, "-o", out),
        (2, "differ in their channels (1 and 2)", "join", coded, other.with_suffix(".sgl"), "-o", out),
        (2, "is the input", "cut", coded, "-o", coded),
        (2, "is the input", "join", small, coded, "-o", coded),
        (2, "name files", "join", "-", coded, "-o", out),
        (3, "not a siglum file", "cut", other, "-o", out),
        (1, "exists; -f overwrites it", "cut", coded, "-o", small),
    ):
        result = run(*arguments)
        assert result.exit_code == code and text in result.stderr, result.output
        assert result.stderr.count("\n") == 1 and not out.exists()


def test_a_file_that_was_cut_off(coded: Path) -> None:
    whole, part = samples_of(coded.with_name("whole.wav")), coded.with_name("part.wav")
    data = coded.read_bytes()
    coded.write_bytes(data[: len(data) // 2])
    for verb in (
        ("decode", coded, "-o", part),
        ("verify", coded),
        ("cut", coded, "-o", coded.with_name("b.sgl")),
    ):
        result = run(*verb)
        assert result.exit_code == 3 and result.stderr.count("\n") == 1, result.output
    assert "(7.98 to 11.98 s)" in run("verify", coded).stderr
    assert not part.exists()
    done("decode", coded, "-o", part, "--partial")
    there = samples_of(part)
    assert len(there) == 399 * 320 and np.array_equal(there[:-3200], whole[: len(there) - 3200])
    done("cut", coded, "--partial", "-o", coded.with_name("b.sgl"))
    done("decode", coded.with_name("b.sgl"), "-o", part, "-f")
    assert np.array_equal(samples_of(part), there)


def test_a_damaged_chunk(coded: Path) -> None:
    part = coded.with_name("part.wav")
    data = bytearray(coded.read_bytes())
    data[len(data) // 2] ^= 1
    coded.write_bytes(data)
    for verb in (
        ("decode", coded, "-o", part),
        ("verify", coded),
        ("decode", coded, "--partial", "-o", part),
    ):
        result = run(*verb)
        assert result.exit_code == 3 and "chunk 2 (7.98 to 11.98 s)" in result.stderr, result.output
    done("decode", coded, "-o", part, "--from", "14s")  # which does not need it
    for options in ((), ("--from", "6s")):
        result = done("decode", coded, "-o", part, "-f", "--conceal", *options)
        assert (
            "warning: " in result.stderr
            and "chunk 2 (7.98 to 11.98 s) is damaged and was concealed" in result.stderr
        )
        assert len(samples_of(part)) == (14 if options else 20) * RATE
    piped = run("decode", "-", "--conceal", "--format", "raw", data=bytes(data))
    assert piped.exit_code == 0 and len(piped.stdout_bytes) == 20 * RATE * 2
