"""``codec kv store``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from siglum import kv
from siglum.cli.main import main


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["kv", "store", *map(str, arguments)])


def test_a_store_by_hand(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    cache = kv.KVCache.from_arrays([tuple(rng.standard_normal((2, 2, 150, 16)).astype(np.float16))] * 2)
    prompt, ids = tmp_path / "prompt.safetensors", tmp_path / "prompt.json"
    kv.write_cache(cache, prompt)
    ids.write_text(json.dumps({"tokens": list(range(150))}))
    other = tmp_path / "other.json"
    other.write_text(json.dumps([*range(70), 3]))
    folder, coding = tmp_path / "caches", ("--model", "m", "--lossless")

    done = run("put", folder, prompt, ids, *coding)
    assert done.exit_code == 0 and "128 of 150 tokens are stored" in done.stderr
    assert run("get", folder, other, *coding).stdout == "64\n"
    assert run("get", folder, other, *coding, "-o", tmp_path / "out.safetensors").exit_code == 0
    found = kv.read_cache(tmp_path / "out.safetensors")
    assert np.array_equal(found.layers[1].keys, cache.layers[1].keys[:, :64])
    listed = run("ls", folder, "--json").stdout.splitlines()
    assert len(listed) == 2 and json.loads(listed[0])["bytes"] > 0
    assert "2 entries" in run("ls", folder).stderr
    assert "1 entries" in run("gc", folder, "--limit", f"{json.loads(listed[1])['bytes']}B").stderr
    assert run("get", folder, other, *coding).stdout == "64\n"


def test_what_is_refused(tmp_path: Path) -> None:
    ids, none = tmp_path / "ids.json", tmp_path / "none.json"
    ids.write_text("[1, 2, 3]")
    none.write_text('{"a": "b"}')
    coding = ("--model", "m")
    for arguments, words in {
        ("get", tmp_path / "s", none, *coding): "has no list of tokens",
        ("get", tmp_path / "s", ids, *coding, "-o", "a.txt"): "written as .safetensors",
        ("get", tmp_path / "s", ids, *coding, "-o", tmp_path / "a.safetensors"): "nothing was written",
        ("get", tmp_path / "s", ids, *coding, "--span", "100"): "multiple of 64",
        ("gc", tmp_path / "s", "--limit", "many"): "is no size",
        ("get", tmp_path / "s", ids): "--model",
    }.items():
        done = run(*arguments)
        assert done.exit_code != 0 and words in done.stderr, (words, done.stderr)


@pytest.mark.parametrize("verb", ["ls", "put", "get", "gc"])
def test_help(verb: str) -> None:
    assert run(verb, "--help").exit_code == 0
