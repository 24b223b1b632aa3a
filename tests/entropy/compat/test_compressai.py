import importlib
import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.entropy.compat import compressai as ours
from siglum.errors import BitstreamError, MalformedHeader, SiglumError, Truncated, UsageError

# Coded by compressai.ans 1.2.8; the cdfs are longer than their sizes, as its models make them.
CDFS = [[0, 30000, 60000, 65000, 65536], [0, 1, 65535, 65536, 7], [0, 65535, 65536]]
SIZES, OFFSETS = [5, 4, 3], [-1, 1000, 3]
SYMBOLS = [0, -1, 1, 2, -2, 70000, 1000, 1001, 999, 3, 2, 4, -100000, 0, 0, 1, 2**20, -(2**20), 5, 1000]
INDEXES = [0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 0, 0, 0, 0, 2, 1, 0, 1]
STRING = bytes.fromhex(
    "d8b016e09e300000f1ff8b572d220000f64bfba511ffff7fd0fb0f8ce7d5340efffff1fff67c0072f9ff6ee1"
)
TABLES = (CDFS, SIZES, OFFSETS)


def extension(name):
    """A compiled part of compressai, without the package, whose import needs much else."""
    spec = importlib.util.find_spec("compressai")
    if spec is None:
        pytest.skip("compressai is not installed: pip install --no-deps compressai")
    for folder in spec.submodule_search_locations:
        for path in Path(folder).glob(f"{name}.*.so"):
            found = importlib.util.spec_from_file_location(f"compressai.{name}", path)
            module = importlib.util.module_from_spec(found)
            found.loader.exec_module(module)
            return module
    pytest.skip(f"compressai has no compiled {name} here")


@pytest.fixture(scope="module")
def theirs():
    return extension("ans")


def normal_tables(count=64, largest=256.0):
    """Cdfs such as a scale hyperprior uses, with padding."""
    from siglum.entropy.tables import normalise

    rows, offsets = [], []
    for scale in np.exp(np.linspace(np.log(0.11), np.log(largest), count)):
        width = max(1, int(np.ceil(6.1 * scale)))
        mass = np.exp(-0.5 * (np.arange(-width, width + 1) / scale) ** 2)
        weights = np.rint(mass / mass.sum() * 2**32).astype(np.int64).tolist()
        rows.append([0, *np.cumsum(normalise([*weights, 4], 16).astype(np.int64)).tolist()])
        offsets.append(-width)
    sizes = [len(row) for row in rows]
    return [row + [0] * (max(sizes) - len(row)) for row in rows], sizes, offsets


def random_symbols(count, seed=0, largest=256.0):
    rng = np.random.default_rng(seed)
    indexes = rng.integers(0, 64, count)
    scales = np.exp(np.linspace(np.log(0.11), np.log(largest), 64))[indexes]
    symbols = np.rint(rng.normal(size=count) * scales).astype(np.int64)
    symbols[:: max(1, count // 7)] *= 1000
    return symbols.tolist(), indexes.tolist()


def test_a_string_of_theirs():
    assert ours.RansEncoder().encode_with_indexes(SYMBOLS, INDEXES, *TABLES) == STRING
    assert ours.RansDecoder().decode_with_indexes(STRING, INDEXES, *TABLES) == SYMBOLS


def test_in_steps():
    encoder = ours.BufferedRansEncoder()
    encoder.encode_with_indexes(SYMBOLS[:7], INDEXES[:7], *TABLES)
    encoder.encode_with_indexes(SYMBOLS[7:], INDEXES[7:], *TABLES)
    assert encoder.flush() == STRING
    assert encoder.flush() == bytes([0, 0, 0, 0x80, 0, 0, 0, 0])
    decoder = ours.RansDecoder()
    with pytest.raises(UsageError, match="set_stream"):
        decoder.decode_stream(INDEXES, *TABLES)
    decoder.set_stream(STRING)
    assert decoder.decode_stream(INDEXES[:7], *TABLES) == SYMBOLS[:7]
    assert decoder.decode_stream(INDEXES[7:], *TABLES) == SYMBOLS[7:]
    with pytest.raises(Truncated):
        decoder.decode_stream(INDEXES, *TABLES)


def test_appended_arrays_may_change():
    symbols, indexes = np.array(SYMBOLS, np.int32), np.array(INDEXES, np.int32)
    encoder = ours.BufferedRansEncoder()
    encoder.encode_with_indexes(symbols, indexes, *TABLES)
    symbols[:], indexes[:] = 0, 0
    assert encoder.flush() == STRING


def test_arrays_and_tensors():
    torch = pytest.importorskip("torch")
    padded = [row + [0] * (5 - len(row)) for row in CDFS]
    for kind in (np.array, torch.tensor, tuple, lambda x: np.array(x, np.int32)):
        tables = [kind(x) for x in (padded, SIZES, OFFSETS)]
        symbols, indexes = kind(SYMBOLS), kind(INDEXES)
        assert ours.RansEncoder().encode_with_indexes(symbols, indexes, *tables) == STRING
        decoded = ours.RansDecoder().decode_with_indexes(STRING, indexes, *tables)
        assert list(decoded) == SYMBOLS
        assert type(decoded) is (list if kind is tuple else type(indexes))
    assert ours.RansEncoder().encode_with_indexes([np.int64(s) for s in SYMBOLS], INDEXES, *TABLES) == STRING


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.integers(-(2**31) + 2000, 2**31 - 1), st.integers(0, 2)), max_size=60))
def test_any_symbols(pairs):
    symbols, indexes = [s for s, _ in pairs], [t for _, t in pairs]
    string = ours.RansEncoder().encode_with_indexes(symbols, indexes, *TABLES)
    assert len(string) % 4 == 0 and len(string) >= 8
    assert ours.RansDecoder().decode_with_indexes(string, indexes, *TABLES) == symbols


@pytest.mark.parametrize("count", [2, 3, 100, 1000, 100_000])
def test_the_same_bytes_as_theirs(theirs, count):
    """One symbol is left out: theirs writes beyond its memory."""
    tables = normal_tables()
    symbols, indexes = random_symbols(count)
    string = theirs.RansEncoder().encode_with_indexes(symbols, indexes, *tables)
    assert ours.RansEncoder().encode_with_indexes(symbols, indexes, *tables) == string
    assert ours.RansDecoder().decode_with_indexes(string, indexes, *tables) == symbols
    assert theirs.RansDecoder().decode_with_indexes(string, indexes, *tables) == symbols
    both = [module.BufferedRansEncoder() for module in (ours, theirs)]
    for encoder in both:
        encoder.encode_with_indexes(symbols[:1], indexes[:1], *tables)
        encoder.encode_with_indexes(symbols[1:], indexes[1:], *tables)
    assert both[0].flush() == both[1].flush() == string


def test_in_a_model_of_theirs(monkeypatch):
    """Their GaussianConditional with its coder swapped writes and reads the same strings."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("scipy.stats", reason="compressai's models need scipy")
    ans = extension("ans")
    spec = importlib.util.find_spec("compressai")
    package = types.ModuleType("compressai")  # its own __init__ imports torchvision and more
    package.__path__ = list(spec.submodule_search_locations)
    package.available_entropy_coders = lambda: ["ans"]
    package.get_entropy_coder = lambda: "ans"
    package.ans = ans
    before = set(sys.modules)
    monkeypatch.setitem(sys.modules, "compressai", package)
    try:
        models = importlib.import_module("compressai.entropy_models.entropy_models")
        model = models.GaussianConditional([0.11, 0.5, 1.0, 4.0, 20.0])
        model.update()
        generator = torch.Generator().manual_seed(0)
        indexes = torch.randint(0, 5, (2, 8, 12, 9), generator=generator)
        scales = torch.tensor([0.11, 0.5, 1.0, 4.0, 20.0])[indexes]
        latents = torch.round(torch.randn(scales.shape, generator=generator) * scales * 1.5)
        strings = model.compress(latents, indexes)
        model.entropy_coder._encoder, model.entropy_coder._decoder = ours.RansEncoder(), ours.RansDecoder()
        assert model.compress(latents, indexes) == strings
        assert torch.equal(model.decompress(strings, indexes), latents)
        with pytest.raises(BitstreamError):
            model.decompress([strings[0][:-4], strings[1]], indexes)
    finally:
        for name in set(sys.modules) - before:
            if name.partition(".")[0] == "compressai":
                del sys.modules[name]


def test_what_crashes_theirs():
    one = ours.RansEncoder().encode_with_indexes([0], [0], *TABLES)
    assert ours.RansDecoder().decode_with_indexes(one, [0], *TABLES) == [0]
    assert (
        ours.RansDecoder().decode_with_indexes(
            ours.RansEncoder().encode_with_indexes([], [], *TABLES), [], *TABLES
        )
        == []
    )
    for string, error in (
        (b"", Truncated),
        (b"x", Truncated),
        (b"\xff" * 8, MalformedHeader),
        (bytes(8), MalformedHeader),
        (STRING[:-1], MalformedHeader),
        (STRING + b"\0", MalformedHeader),
        (STRING + bytes(4), BitstreamError),
        (STRING[:-4], BitstreamError),
    ):
        with pytest.raises(error):
            ours.RansDecoder().decode_with_indexes(string, INDEXES, *TABLES)
    whole = [[0, 65536]]
    string = ours.RansEncoder().encode_with_indexes([0, 2**30, -5], [0] * 3, whole, [2], [0])
    assert ours.RansDecoder().decode_with_indexes(string, [0] * 3, whole, [2], [0]) == [0, 2**30, -5]


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_damage_never_crashes(data):
    string = bytearray(STRING)
    kind = data.draw(st.sampled_from(["flip", "cut", "random"]))
    if kind == "flip":
        string[data.draw(st.integers(0, len(string) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "cut":
        string = string[: data.draw(st.integers(0, len(string) - 1))]
    else:
        string = bytearray(data.draw(st.binary(max_size=60)))
    try:
        symbols = ours.RansDecoder().decode_with_indexes(bytes(string), INDEXES, *TABLES)
    except BitstreamError:
        return
    assert kind != "cut" and len(symbols) == len(INDEXES)


@pytest.mark.parametrize(
    "arguments",
    [
        ([0, 1], [0], *TABLES),
        ([0], [3], *TABLES),
        ([0], [-1], *TABLES),
        ([0.5], [0], *TABLES),
        ([2**31], [0], *TABLES),
        (["a"], [0], *TABLES),
        ([0], [0], [[0, 30000, 65536]], [4], [0]),  # a size beyond its row
        ([0], [0], [[0, 30000, 65536]], [-1], [0]),
        ([0], [0], [[0, 30000, 65536]], [3, 3], [0]),
        ([0], [0], [[0, 30000, 65536]], [3], [0, 0]),
        ([0], [0], [[0, 30000, 65535]], [3], [0]),
        ([0], [0], [[0, 30000, 30000, 65536]], [4], [0]),
        ([0], [0], [[5, 30000, 65536]], [3], [0]),
        ([0], [0], [[0, -30000, 65536]], [3], [0]),
        ([0], [0], [[0, 1 << 40, 65536]], [3], [0]),
        ([0], [0], [[0]], [1], [0]),
        ([0], [0], [], [], []),
        ([0], [0], np.array([[0, 30000, 65536]]), [4], [0]),
        ([0], [0], np.array([[0, -3, 65536]]), [3], [0]),
        ([0], [0], [[0, "a", 65536]], [3], [0]),
        ([-(2**31)], [1], *TABLES),
    ],
)
def test_wrong_arguments(arguments):
    with pytest.raises(UsageError):
        ours.RansEncoder().encode_with_indexes(*arguments)
    with pytest.raises(UsageError):
        ours.BufferedRansEncoder().encode_with_indexes(*arguments)
    if arguments[0] == [0]:
        with pytest.raises(SiglumError):
            ours.RansDecoder().decode_with_indexes(STRING, *arguments[1:])


def test_tables_are_compiled_once():
    ours.clear_cache()
    for _ in range(3):
        ours.RansEncoder().encode_with_indexes(SYMBOLS, INDEXES, [list(row) for row in CDFS], SIZES, OFFSETS)
    assert len(ours._cache) == 1
    changed = [list(row) for row in CDFS]
    changed[0][1] = 40000
    assert ours.RansEncoder().encode_with_indexes(SYMBOLS, INDEXES, changed, SIZES, OFFSETS) != STRING
    for offset in range(20):
        ours.RansEncoder().encode_with_indexes(SYMBOLS, INDEXES, CDFS, SIZES, [offset, 1000, 3])
    assert len(ours._cache) == 8
    assert ours.RansEncoder().encode_with_indexes(SYMBOLS, INDEXES, *TABLES) == STRING
