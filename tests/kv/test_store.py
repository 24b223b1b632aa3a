"""The store: found by tokens, atomic, shared, limited, and honest about what is damaged."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum import kv
from siglum.errors import StoreError, UnsupportedInputError, UsageError
from siglum.kv.folders import LocalFolder, RemoteFolder


def cache_of(tokens: Sequence[int], layers: int = 3, dim: int = 16) -> kv.KVCache:
    """A cache whose every row depends on the token, so that mix-ups show."""
    rng = np.random.default_rng(5)
    table = rng.standard_normal((layers, 2, 2, 97, dim)).astype(np.float16)
    ids = np.asarray(tokens) % 97
    rope = kv.Rope(10000.0, dim)
    return kv.KVCache.from_arrays(
        [(half[0][:, ids], half[1][:, ids]) for half in table], rope=rope, model="m"
    )


def store_of(folder: Path, **more: object) -> kv.Store:
    return kv.Store(folder, model="m", **{"lossless": True, "threads": 1, **more})  # type: ignore[arg-type]


def same(a: kv.KVCache, b: kv.KVCache) -> bool:
    pairs = zip(a.layers, b.layers, strict=True)
    return all(np.array_equal(x, y) for p, q in pairs for x, y in zip(p[:2], q[:2], strict=True))


def test_a_prefix_is_found_and_exact(tmp_path: Path) -> None:
    tokens = list(range(300))
    store, cache = store_of(tmp_path), cache_of(tokens)
    assert store.lookup(tokens) == 0 and store.get(tokens) is None
    assert store.put(tokens, cache) == 256
    assert store.lookup([*tokens[:200], 1, 2, 3]) == 192
    found = store_of(tmp_path).get([*tokens[:200], *range(5000, 5100)])
    assert found is not None and found.tokens == 192 and same(found, cache.slice(0, 192))
    assert found.layers[0].rope == cache.layers[0].rope
    some = store.get(tokens, layers=[2, 0])
    assert some is not None and np.array_equal(some.layers[0].keys, cache.layers[2].keys[:, :256])


def test_equal_beginnings_are_kept_once(tmp_path: Path) -> None:
    store, a = store_of(tmp_path), list(range(256))
    b = [*a[:128], *range(900, 1028)]
    store.put(a, cache_of(a))
    store.put(b, cache_of(b))
    assert len(store.entries()) == 4 + 2
    before = {entry.name: entry.used for entry in store.entries()}
    store.put(a, cache_of(a))
    assert before.keys() == {entry.name for entry in store.entries()}


@settings(deadline=None, max_examples=15)
@given(shared=st.integers(0, 200), length=st.integers(1, 260), span=st.sampled_from([64, 128, 256]))
def test_lookup_is_the_longest_common_beginning(
    shared: int, length: int, span: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = store_of(tmp_path_factory.mktemp("s"), span=span)
    tokens = list(range(length))
    asked = [*tokens[:shared], *range(10_000, 10_300)]
    store.put(tokens, cache_of(tokens))
    common = min(shared, length)
    # An entry is found as a whole: the last one may be shorter than a span.
    whole = [min(s + span, length // 64 * 64) for s in range(0, length // 64 * 64, span)]
    assert store.lookup(asked) == max([0, *(stop for stop in whole if stop <= common)])


def test_what_is_coded_otherwise_is_not_found(tmp_path: Path) -> None:
    tokens = list(range(128))
    store_of(tmp_path).put(tokens, cache_of(tokens))
    for other in ({"salt": "x"}, {"lossless": False, "calibration": None}, {"span": 128}):
        assert store_of(tmp_path, **other).lookup(tokens) == 0
    assert kv.Store(tmp_path, model="n", lossless=True).lookup(tokens) == 0


def test_lossy_entries_code_sinks_in_the_first_only(tmp_path: Path) -> None:
    tokens = [i * i for i in range(600)]
    store = store_of(tmp_path, lossless=False, calibration=None, quality=90)
    cache = cache_of(tokens)
    assert store.put(tokens, cache) == 576 and len(store.entries()) == 3
    found = store.get(tokens)
    assert found is not None
    error = max(
        float(np.abs(a.values.astype(float) - b.values[:, :576].astype(float)).max())
        for a, b in zip(found.layers, cache.layers, strict=True)
    )
    assert error < 0.5


def test_writing_while_the_prompt_is_read(tmp_path: Path) -> None:
    tokens = list(range(400))
    cache, store = cache_of(tokens), store_of(tmp_path, span=128)
    for background in (False, True):
        with store.writer(background=background) as writer:
            for start in range(0, 400, 90):
                stop = min(start + 90, 400)
                writer.append(tokens[start:stop], cache.slice(start, stop))
                assert store.lookup(tokens[:stop]) >= (stop // 128 * 128 if not background else 0)
        assert writer.stored == 384 and store.lookup(tokens) == 384
    found = store.get(tokens)
    assert found is not None and same(found, cache.slice(0, 384))
    assert [piece.tokens for piece in store.stream(tokens)] == [128, 128, 128]


def test_a_damaged_entry_is_named_and_dropped(tmp_path: Path) -> None:
    tokens = list(range(256))
    store, cache = store_of(tmp_path), cache_of(tokens)
    store.put(tokens, cache)
    link = store.find(tokens)[2]
    path = tmp_path / link.name[:2] / link.name
    data = bytearray(path.read_bytes())
    for damage in (bytes(data[:100]), b"", bytes(data[:-300]) + bytes(300), b"\0" * 500):
        path.write_bytes(damage)
        with pytest.warns(kv.StoreWarning, match=f"{link.name[:16]}.*tokens 128-191.*damaged"):
            found = store.get(tokens)
        assert found is not None and found.tokens == 128 and same(found, cache.slice(0, 128))
        assert not path.exists() and store.lookup(tokens) == 128
        store.put(tokens, cache)
        assert store.lookup(tokens) == 256


def test_an_entry_under_another_name_is_not_used(tmp_path: Path) -> None:
    tokens = list(range(128))
    store = store_of(tmp_path)
    store.put(tokens, cache_of(tokens))
    first, second = ((tmp_path / link.name[:2] / link.name) for link in store.find(tokens))
    second.write_bytes(first.read_bytes())
    with pytest.warns(kv.StoreWarning, match="it holds tokens 0-63"):
        found = store.get(tokens)
    assert found is not None and found.tokens == 64


def test_two_models_of_one_name(tmp_path: Path) -> None:
    tokens = list(range(128))
    store = store_of(tmp_path)
    store.put(tokens[:64], cache_of(tokens[:64]))
    store.put(tokens, cache_of(tokens, layers=4))
    with pytest.warns(kv.StoreWarning, match="two models go by one name"):
        found = store.get(tokens)
    assert found is not None and found.tokens == 64


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    prompts = [list(range(1000 * n, 1000 * n + 128)) for n in range(6)]
    store = store_of(tmp_path)
    for prompt in prompts:
        store.put(prompt, cache_of(prompt))
    sizes = [entry.size for entry in store.entries()]
    store.get(prompts[0])
    assert store.gc(sum(sizes) // 2) <= sum(sizes) // 2
    assert store.lookup(prompts[0]) == 128 and store.lookup(prompts[1]) == 0
    # The end of a prompt goes before its beginning, without which it could not be found.
    assert store.gc(max(sizes)) and store.lookup(prompts[0]) == 64


def test_the_limit_is_kept(tmp_path: Path) -> None:
    one = list(range(64))
    store_of(tmp_path / "a").put(one, cache_of(one))
    size = next((tmp_path / "a").rglob("*.sgl")).stat().st_size
    store = store_of(tmp_path / "b", limit=10 * size)
    for n in range(40):
        prompt = list(range(1000 * n, 1000 * n + 64))
        store.put(prompt, cache_of(prompt))
        assert sum(entry.size for entry in store.entries()) <= 10 * size * (1 + 1 / 16) + size
    assert store.lookup(prompt) == 64 and len(store.entries()) >= 8


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "ab").mkdir()
    mine = [tmp_path / "photo.sgl", tmp_path / "ab" / "notes.txt"]
    for path in mine:
        path.write_text("mine")
    store = store_of(tmp_path)
    store.put(list(range(64)), cache_of(range(64)))
    left = tmp_path / "unfinished" / "123"
    left.write_text("half")
    os.utime(left, (0, 0))
    assert store.gc(1) == 0 and not left.exists() and all(path.exists() for path in mine)


def _started(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, __file__, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )


def _work(folder: str, number: int, limit: int | None) -> int:
    warnings.simplefilter("error")  # a half-written entry would be one
    store, hits = store_of(Path(folder), limit=limit), 0
    for n in range(12):
        tokens = list(range(1000 * ((n + number) % 4), 1000 * ((n + number) % 4) + 192))
        found = store.get(tokens)
        if found is not None:
            assert same(found, cache_of(tokens).slice(0, found.tokens))
            hits += found.tokens
        store.put(tokens, cache_of(tokens))
    return hits


@pytest.mark.parametrize("limit", [None, 60_000])
def test_several_processes_share_a_folder(tmp_path: Path, limit: int | None) -> None:
    running = [_started("work", tmp_path, str(n), str(limit or 0)) for n in range(3)]
    hits = [int(process.communicate(timeout=100)[0]) for process in running]
    assert sum(hits) > 0 and not list((tmp_path / "unfinished").iterdir())
    if limit is None:
        assert len(store_of(tmp_path).entries()) == 12


def test_a_killed_writer_leaves_no_entry(tmp_path: Path) -> None:
    code = f"""
        import os, signal
        from pathlib import Path
        Path.replace = lambda self, target: os.kill(os.getpid(), signal.SIGKILL)
        from siglum.kv.folders import LocalFolder
        LocalFolder({str(tmp_path)!r}).write("{"ab" * 32}.sgl", b"data")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not list(LocalFolder(tmp_path).entries()) and len(list((tmp_path / "unfinished").iterdir())) == 1


def _restricted(kind: str, folder: str) -> None:
    store, tokens = store_of(Path(folder)), list(range(128))
    cache = cache_of(tokens)
    assert store.get(tokens) is not None  # so that all modules are there before the user changes
    if kind == "full":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
    elif os.geteuid() == 0:
        os.seteuid(65534)
    with pytest.raises(StoreError, match="is full" if kind == "full" else "cannot be written"):
        store.put(tokens, cache)
    found = store.get(tokens)
    assert found is not None and found.tokens == 64


@pytest.mark.parametrize("kind", ["full", "read-only"])
def test_a_folder_that_takes_nothing_can_still_be_read(kind: str) -> None:
    with TemporaryDirectory() as name:  # pytest's own folders are closed to the other user
        folder = Path(name)
        store_of(folder).put(list(range(64)), cache_of(range(64)))
        for path in [folder, *folder.iterdir()]:
            path.chmod(0o555 if kind == "read-only" else 0o755)
        worker = _started(kind, folder)
        worker.communicate(timeout=60)
        folder.chmod(0o755)
        assert worker.returncode == 0
        assert not list(folder.glob("unfinished/*"))


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"the store .*file"):
        store_of(tmp_path / "file").put(list(range(64)), cache_of(range(64)))


def test_what_cannot_be_stored_is_refused(tmp_path: Path) -> None:
    store, tokens = store_of(tmp_path), list(range(200))
    with pytest.raises(UnsupportedInputError, match="200 tokens, and 100 were named"):
        store.put(tokens[:100], cache_of(tokens))
    with pytest.raises(UnsupportedInputError, match="begins at position 64"):
        store.put(tokens[64:], cache_of(tokens).slice(64, 200))
    cut = cache_of(tokens)
    layers = [cut.layers[0], *(layer._replace(keys=layer.keys[:, 50:], values=layer.values[:, 50:], start=50)
                               for layer in cut.layers[1:])]  # fmt: skip
    with pytest.raises(UnsupportedInputError, match="layer 1 sees a sliding window"):
        store.put(tokens, kv.KVCache(layers, cut.dtype))
    with pytest.raises(UnsupportedInputError, match="2 tokens for a cache of 64"), store.writer() as writer:
        writer.append([1, 2], cut.slice(0, 64))
    for wrong in ({"model": ""}, {"span": 100}, {"limit": 0}, {"quality": 101}):
        with pytest.raises(UsageError):
            kv.Store(tmp_path, **{"model": "m", **wrong})  # type: ignore[arg-type]
    assert store.put(tokens[:63], cut.slice(0, 63)) == 0 and store.get([]) is None


def test_a_store_through_fsspec(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec", reason="stores at URLs need the extra fsspec")
    tokens = list(range(256))
    fsspec.filesystem("memory").store.clear()
    url = "memory://bucket/caches"
    store = kv.Store(url, model="m", lossless=True, threads=1)
    assert store.lookup(tokens) == 0 and store.entries() == []
    assert store.put(tokens, cache_of(tokens)) == 256
    found = kv.Store(url, model="m", lossless=True, threads=1).get(tokens)
    assert found is not None and same(found, cache_of(tokens))
    entries = store.entries()
    assert len(entries) == 4 and all(entry.used > 1e9 for entry in entries)
    assert store.gc(2 * max(entry.size for entry in entries)) and store.lookup(tokens) == 128
    assert not fsspec.filesystem("memory").find("/bucket/caches/unfinished")
    local = kv.Store(f"file://{tmp_path}", model="m")
    assert isinstance(local.folder, LocalFolder) and isinstance(store.folder, RemoteFolder)
    with pytest.raises(StoreError, match="cannot be reached"):
        kv.Store("nosuchprotocol://x", model="m")


if __name__ == "__main__":
    if sys.argv[1] == "work":
        print(_work(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]) or None))
    else:
        _restricted(sys.argv[1], sys.argv[2])
