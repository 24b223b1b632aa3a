from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from siglum.datasets.audio import SegmentSampler, find_recordings, load, speakers
from siglum.errors import UsageError

soundfile = pytest.importorskip("soundfile")
pytest.importorskip("soxr")
RATE = 8000


def write(path: Path, seconds: float, channels: int = 1, rate: int = RATE, level: float = 0.5) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    count = round(rate * seconds)
    noise = np.random.default_rng(count + channels).uniform(-level, level, (count, channels))
    soundfile.write(path, noise, rate)


def test_recordings_are_found_by_speaker(tmp_path: Path) -> None:
    for name in ("b/2.flac", "a/x/1.wav", "top.ogg", "a/notes.txt"):
        if name.endswith("txt"):
            (tmp_path / name).write_text("no sound")
        else:
            write(tmp_path / name, 0.1)
    found = find_recordings(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ["a/x/1.wav", "b/2.flac", "top.ogg"]
    assert {name: len(paths) for name, paths in speakers(found, tmp_path).items()} == {"a": 1, "b": 1, "": 1}
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "none"):
        with pytest.raises(FileNotFoundError):
            find_recordings(folder)


def test_a_recording_is_loaded_at_any_rate_and_speed(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", 0.5, channels=2, rate=16000)
    assert load(tmp_path / "a.wav", 16000).shape == (8000, 2)
    assert load(tmp_path / "a.wav", RATE).shape == (4000, 2)
    assert len(load(tmp_path / "a.wav", 16000, speed=2.0)) == 4000


def test_segments_come_from_recordings_that_are_long_enough(tmp_path: Path) -> None:
    write(tmp_path / "long.wav", 1.0)
    write(tmp_path / "two.wav", 0.5, channels=2)
    write(tmp_path / "short.wav", 0.05)
    write(tmp_path / "silent.wav", 1.0, level=1e-5)
    paths = find_recordings(tmp_path)
    sampler = SegmentSampler(paths, RATE, 1000, speeds=(1.0,), cache=tmp_path / "kept.npz")
    assert sampler.samples.dtype == np.int16 and len(sampler.ends) == 3  # both channels of one recording
    assert sampler.seconds == pytest.approx(1.0 + 2 * 0.5)
    assert len(sampler.samples) == sampler.ends[-1] and np.abs(sampler.samples).max() == 32767
    batch = sampler.batch(5)
    assert batch.shape == (5, 1000) and batch.dtype == np.float32 and np.abs(batch).max() <= 1
    again = SegmentSampler(paths, RATE, 1000, cache=tmp_path / "kept.npz")
    assert np.array_equal(again.samples, sampler.samples) and np.array_equal(again.batch(5), batch)
    with pytest.raises(UsageError, match="as long as a segment"):
        SegmentSampler(paths, RATE, 9000, speeds=(1.0,))


def test_a_segment_may_be_all_there_is(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", 0.125)
    sampler = SegmentSampler([tmp_path / "a.wav"], RATE, 1000, speeds=(1.0,))
    assert np.array_equal(sampler.batch(1)[0], sampler.samples.astype(np.float32) / 32768)
