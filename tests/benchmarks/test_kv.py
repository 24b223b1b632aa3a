"""The benchmark of key-value caches: documents, rows, resuming, tables; a tiny model where there is transformers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from siglum.benchmarks import kv_coders, kv_summary
from siglum.benchmarks.coder import MissingPeer
from siglum.benchmarks.kv import Bench, errors
from siglum.benchmarks.kv_documents import find
from siglum.benchmarks.rows import Row, read_rows
from siglum.cli.main import main
from siglum.codecs.kv.cache import KVCache
from siglum.codecs.kv.files import write_cache
from siglum.codecs.kv.rope import Rope
from siglum.errors import UnsupportedInputError, UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(3):
        x = rng.standard_normal((2, 2, 2, 40, 64)).astype(np.float16)
        cache = KVCache.from_arrays(list(zip(*x, strict=True)), rope=Rope(10000.0, 64))
        write_cache(cache, tmp_path / f"doc-{number}.safetensors")
        fields = {"tokens": list(range(number, number + 40)), "continuation": [5, 6, 7]}
        (tmp_path / f"doc-{number}.json").write_text(json.dumps(fields))
    return tmp_path


def test_documents_are_found(folder: Path) -> None:
    documents = find([folder], None, 40, 2, None)
    assert [document.name for document in documents] == ["doc-0", "doc-1", "doc-2"]
    assert documents[0].tokens == list(range(40))
    assert documents[0].continuation == [5, 6]
    assert len({document.sha256 for document in documents}) == 3
    with pytest.raises(UnsupportedInputError, match="texts need --model"):
        find([folder / "doc-0.json"], None, 40, 2, None)


def test_rows_hold_whole_files_and_runs_go_on(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    documents = find([folder], None, 40, 2, None)
    bench = Bench([kv_coders.make("q8_0"), kv_coders.make("turboquant")], {"turboquant": (3.0, 4.0)})
    rows = bench.run(documents[:2], path, "test")
    assert [(row.item, row.codec, row.dial) for row in rows[:3]] == [
        ("doc-0", "q8_0", None),
        ("doc-0", "turboquant", 3.0),
        ("doc-0", "turboquant", 4.0),
    ]
    row = rows[0]
    assert row.medium == "kv" and row.rate_unit == "bpe" and row.units == 2 * 2 * 2 * 40 * 64
    data = kv_coders.make("q8_0").encode(documents[0].cache(None), None)
    assert row.bytes == len(data) and row.rate == 8 * len(data) / row.units
    assert set(row.metrics) == {"error_keys", "error_values"}
    assert rows[1].rate < rows[2].rate
    before = path.read_text().split("\n")[1]
    again = bench.run(documents, path, "test", resume=True)
    assert len(again) == 9
    assert path.read_text().split("\n")[1] == before  # measured once
    assert len(read_rows(path)[1]) == 9


def test_a_codec_that_fails_is_a_row(folder: Path, tmp_path: Path) -> None:
    bench = Bench([kv_coders.make("q8_0"), kv_coders.make("turboquant")], {"turboquant": (9.0,)})
    rows = bench.run(find([folder], None, 40, 2, 1), tmp_path / "rows.jsonl", "test")
    assert rows[0].failure is None
    assert rows[1].failure is not None and rows[1].failure["stage"] in ("encode", "decode")


def test_bits_that_tables_ask_for_are_most_of_a_file(folder: Path, tmp_path: Path) -> None:
    bench = Bench([kv_coders.make("kv-free")], {"": (70.0,)}, health=True)
    (row,) = bench.run(find([folder], None, 40, 2, 1), tmp_path / "rows.jsonl", "test")
    assert row.failure is None and row.health is not None and row.bytes is not None
    assert 0 < row.health["ideal_bits"] < row.health["actual_bits"] == 8 * row.bytes


def test_errors_refuse_other_shapes() -> None:
    x = np.ones((1, 8, 4), np.float16)
    one = KVCache.from_arrays([(x, x)])
    two = KVCache.from_arrays([(x, x), (x, x)])
    with pytest.raises(ValueError, match="layers"):
        errors(one, two)
    assert errors(one, one)["error_keys"] is None  # nothing varies


def test_coders_by_name() -> None:
    assert kv_coders.make("evict:q8_0").dials == kv_coders.SHARES
    with pytest.raises(UsageError, match="unknown codec"):
        kv_coders.make("q9")
    with pytest.raises(UsageError, match="--fit"):
        kv_coders.make("kvtc")
    with pytest.raises(UsageError, match="after the @"):
        kv_coders.make("evict:turboquant@x")
    assert kv_coders.make("turboquant").settings(3.0)["key_bits"] == 3


def rows_of(codec: str, points: list[tuple[float, float, float]], documents: int = 6) -> list[Row]:
    rng = np.random.default_rng(1)
    return [
        Row(
            codec, f"doc-{n}", f"{n:02d}", "kv", dial, bytes=int(1e6 * rate), units=8e6, rate=rate * factor,
            metrics={"kl": kl * factor}, encode_s=1.0, decode_s=0.5,
        )
        for n, factor in enumerate(1 + 0.1 * rng.standard_normal(documents))
        for dial, rate, kl in points
    ]  # fmt: skip


def test_bits_at_a_divergence() -> None:
    rows = rows_of("kv", [(1, 1.0, 0.016), (2, 2.0, 0.004), (3, 4.0, 0.001)])
    curve = kv_summary.curve_of(rows, "kv")
    factor = curve.rates.mean() / (7 / 3)
    assert curve.rate_at(0.004 * factor) == pytest.approx(2 * factor)
    assert curve.rate_at(0.008 * factor) == pytest.approx(2**0.5 * factor)
    assert curve.rate_at(1.0) == pytest.approx(factor)
    assert np.isnan(curve.rate_at(1e-5))
    value, spread = kv_summary.bits_at(rows, "kv", 0.004)
    assert spread is not None and spread[0] < value < spread[1]


def test_bytes_against_a_rival() -> None:
    rows = rows_of("kv", [(1, 1.0, 0.016), (2, 2.0, 0.004)]) + rows_of("kivi-4", [(0, 6.0, 0.004)])
    value, spread = kv_summary.advantage(rows, "kv", "kivi-4", 0)
    assert value == pytest.approx(3, rel=1e-6)
    assert spread is not None and spread[0] <= value <= spread[1]
    said = kv_summary.text(rows)
    assert "6 documents" in said and "3.000" in said and "KL ≤ 0.004" in said


def test_the_command_without_a_model(folder: Path, tmp_path: Path) -> None:
    command = [
        "bench",
        "kv",
        str(folder),
        "--without-model",
        "-c",
        "q4_0,turboquant",
        "-q",
        "turboquant=4",
        "--limit",
        "2",
    ]
    page, rows = tmp_path / "page.html", tmp_path / "rows.jsonl"
    result = CliRunner().invoke(main, [*command, "--json", str(rows), "--html", str(page)])
    assert result.exit_code == 0, result.output
    assert "2 documents" in result.output and "no model" in result.output
    assert "turboquant" in page.read_text()
    assert len(read_rows(rows)[1]) == 4


@pytest.mark.slow
def test_the_calibration_that_ships_with_the_transforms_of_other_caches() -> None:
    cache = str(Path(__file__).parents[1] / "media" / "smollm2-kv.safetensors")
    command = ["bench", "kv", cache, "--without-model", "-c", "kv", "-q", "kv=60", "--refit", cache]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert "1 document" in result.output


def test_the_command_says_what_is_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("siglum.benchmarks.kv_model.find_spec", lambda name: None)
    result = CliRunner().invoke(main, ["bench", "kv", str(folder)])
    assert result.exit_code != 0
    assert isinstance(result.exception, MissingPeer | SystemExit)
    assert "siglum[llm]" in f"{result.output}{result.exception}"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama with random weights and a tokenizer of characters."""
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    path = tmp_path_factory.mktemp("tiny")
    config = transformers.LlamaConfig(
        vocab_size=300, hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=32, max_position_embeddings=512,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(path)
    words = {chr(code): code for code in range(32, 127)} | {"\n": 0, "?": 63}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="?"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex("."), "isolated")
    transformers.PreTrainedTokenizerFast(tokenizer_object=made).save_pretrained(path)
    return path


@pytest.mark.filterwarnings("ignore")
def test_the_command_with_a_model(tiny: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        (texts / f"{number}.txt").write_text("".join(chr(code) for code in rng.integers(97, 123, 250)))
    rows_file, kept = tmp_path / "rows.jsonl", tmp_path / "kept"
    command = [
        "bench", "kv", str(texts), "--model", str(tiny), "--prefix", "200", "--continuation", "20", "--needle",
        "-c", "none,q8_0,turboquant,kvtc,think,evict:q8_0,evict:none", "-q", "turboquant=2,4", "-q", "kvtc=2",
        "-q", "evict:q8_0=0.5", "-q", "evict:none=1", "--fit", str(texts), "--fits", str(tmp_path / "fits"),
        "--generate", "4", "--first-token", "--json", str(rows_file), "--save", str(kept),
    ]  # fmt: skip
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    means: dict[tuple[str, float | None], float] = {}
    for row in read_rows(rows_file)[1]:
        assert row.failure is None
        assert {"kl", "top1", "ppl_change", "needle", "generation", "first_token_s", "recompute_s"} <= set(
            row.metrics
        )
        key = (row.codec, row.dial)
        means[key] = means.get(key, 0) + (row.metrics["kl"] or 0) / 3
    assert means["none", None] < 1e-9
    assert means["evict:none", 1.0] < 1e-4  # keys are turned back and forth in float16
    assert means["q8_0", None] < means["turboquant", 4.0] < means["turboquant", 2.0]
    again = find([kept], None, 200, 20, None)
    assert len(again) == 3 and again[0].answer is not None
