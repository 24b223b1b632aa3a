import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from siglum.benchmarks import quantizer_report, quantizer_searches, quantizer_sources, quantizers
from siglum.benchmarks.entropy_coders import Absent
from siglum.benchmarks.quantizer_methods import Fitted, Method, methods, usage_of
from siglum.cli.main import main


def nearest_of_means(vectors, codes, bits, seed):
    """A quantizer that knows the mean alone."""
    mean = vectors.mean(0)

    def decode(codes):
        return np.broadcast_to(mean, (len(codes), len(mean)))

    return Fitted(lambda x: np.zeros((len(x), codes), np.int64), decode, lambda found: found)


def absent(vectors, codes, bits, seed):
    raise Absent("not installed: pip install it")


@pytest.fixture(scope="module")
def source():
    return quantizer_sources.sift_like(300, 100)


def test_histograms_of_gradients_are_like_those_of_sift(source):
    assert source.train.shape == (300, 128)
    assert source.test.shape == (100, 128)
    both = np.concatenate([source.train, source.test])
    assert both.min() == 0 and both.max() <= 255 and np.array_equal(both, np.rint(both))
    assert np.allclose(np.linalg.norm(both, axis=1), 512, rtol=0.05)
    assert np.array_equal(quantizer_sources.sift_like(300, 100).test, source.test)


def test_items_become_vectors(tmp_path: Path, photo_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "picture.png").write_bytes(photo_path.read_bytes())
    rng = np.random.default_rng(0)
    np.save(tmp_path / "a" / "first.npy", rng.normal(size=(2, 40, 16)))
    np.save(tmp_path / "a" / "second.npy", rng.normal(size=(40, 16)).astype(np.float16))
    np.save(tmp_path / "a" / "third.npy", rng.normal(size=20))
    found = list(quantizer_sources.sources([tmp_path / "a"], 60, 20))[1:]
    assert [source.name for source in found] == ["latents of a, 192", "vectors of a, 16"]
    assert [source.train.shape for source in found] == [(60, 192), (60, 16)]
    assert [source.test.shape for source in found] == [(20, 192), (20, 16)]


def test_frames_of_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from siglum.benchmarks.items import Audio

    tone = Audio(np.sin(np.arange(16_000, dtype=np.float32))[None] / 2, 16_000)
    monkeypatch.setattr(quantizer_sources, "load", lambda item: tone)
    (tmp_path / "tone.wav").write_bytes(b"")
    (found,) = list(quantizer_sources.sources([tmp_path / "tone.wav"], 30, 10))[1:]
    assert found.dimension == 64
    assert len(found.train) == 30


def test_rows_have_figures_or_a_reason(source):
    chosen = [Method("mean", "", "numpy", nearest_of_means), Method("other", "", "no-such-package", absent)]
    mean, other = quantizers.run([source], chosen, 2, 3)
    assert mean.distortion == pytest.approx(1.0)
    assert (mean.used, mean.perplexity) == (1 / 8, 1.0)
    assert mean.encode_us > 0 and mean.decode_us > 0 and mean.train_s >= 0
    assert (other.note, other.version, other.distortion) == ("not installed: pip install it", "absent", None)


def test_failures_are_rows(source):
    def broken(*arguments):
        raise RuntimeError("no\nway")

    (row,) = quantizers.run([source], [Method("broken", "", "numpy", broken)], 2, 3)
    assert row.note == "failed: no"


@pytest.mark.slow
def test_every_quantizer_of_siglum_is_better_than_the_mean(source):
    pytest.importorskip("torch")
    own = [method for method in methods() if method.package == "siglum" and "EMA" not in method.settings]
    rows = list(quantizers.run([source], own, 2, 3))
    assert {row.name for row in rows} == {"residual", "group-residual", "product", "additive"}
    assert all(row.distortion is not None and row.distortion < 1 for row in rows), rows


def test_a_quantizer_of_siglum_is_better_than_the_mean(source):
    pytest.importorskip("torch")
    own = [method for method in methods() if (method.package, method.settings) == ("siglum", "fit, greedy")]
    (row,) = quantizers.run([source], own, 2, 3)
    assert row.distortion is not None and row.distortion < 1, row


def test_usage():
    used, perplexity = usage_of(np.array([[0, 0], [1, 0], [2, 0], [3, 0]]), 2)
    assert used == pytest.approx((1 + 1 / 4) / 2)
    assert perplexity == pytest.approx((4 + 1) / 2)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch):
    """Searches of little work."""
    monkeypatch.setattr(quantizers, "SIZES", ((8, 40),))
    monkeypatch.setattr(quantizers, "VECTORS", 300)
    monkeypatch.setattr(quantizers, "SECONDS", 0.0)
    for module in (quantizers, quantizer_report):
        monkeypatch.setattr(module, "LARGE", (200, 3, 50))


def test_searches_agree(quick):
    rows = list(quantizers.run_searches())
    assert rows[0].name == "siglum"
    assert rows[0].slower == 1.0
    for row in rows:
        assert (row.gflops is None) == bool(row.note)
        assert row.note or row.equal == 1.0
    large = quantizers.run_large()
    bars = list(quantizer_report.search_bars([*rows, large]))
    assert large.peak_mb is None or bars[-1].unit == "MB"


def test_a_missing_package_is_a_row(quick, monkeypatch: pytest.MonkeyPatch):
    own, *_ = quantizer_searches.searches()

    def missing(x, codewords):
        raise Absent("not installed")

    ways = [own, quantizer_searches.Search("other", "", "no-such-package", missing)]
    monkeypatch.setattr(quantizers, "searches", lambda: ways)
    _, other = quantizers.run_searches()
    assert (other.note, other.version, other.gflops) == ("not installed", "absent", None)


@pytest.fixture
def small(quick, monkeypatch: pytest.MonkeyPatch, source):
    """The command with small work."""
    chosen = [
        Method("mean", "beam 8", "numpy", nearest_of_means),
        Method("other", "", "no-such-package", absent),
    ]
    monkeypatch.setattr("siglum.benchmarks.quantizer_methods.methods", lambda: chosen)
    monkeypatch.setattr("siglum.benchmarks.quantizer_sources.sources", lambda *arguments: [source])


def test_the_command_prints_tables(small):
    done = CliRunner().invoke(main, ["bench", "quantizers"])
    assert done.exit_code == 0, done.output
    assert "Nearest codeword" in done.output
    assert "SIFT-like, 128: 300 training and 100 test vectors, 8 codes of 8 bits" in done.output
    assert "not installed" in done.output
    assert "faiss-cpu" in done.output.splitlines()[1]


def test_the_command_prints_rows(small):
    done = CliRunner().invoke(main, ["bench", "quantizers", "--json", "--codes", "2"])
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [row["kind"] for row in rows][-2:] == ["quantizer", "quantizer"]
    assert rows[-2]["codes"] == 2
    assert rows[-2]["distortion"] == pytest.approx(1.0)


def test_names_that_are_none(small):
    done = CliRunner().invoke(main, ["bench", "quantizers", "--only", "nothing"])
    assert done.exit_code == 2
    assert "--only takes" in done.output
