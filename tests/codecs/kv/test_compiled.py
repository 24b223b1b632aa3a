"""Compiled passes over blocks of caches, against NumPy, with every instruction set that this CPU has."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglum.codecs.kv import coding, reference
from siglum.codecs.kv.blocks import TRANSFORM, Block, Part
from siglum.codecs.kv.cache import KVCache, Layer, as_float, from_float
from siglum.codecs.kv.codec import compress
from siglum.codecs.kv.coding import Components, turns_of
from siglum.codecs.kv.decoding import Decoder
from siglum.codecs.kv.encoding import Encoder
from siglum.codecs.kv.files import forget, mappings_of, read_cache, write_cache
from siglum.codecs.kv.rope import Rope
from siglum.codecs.kv.transform import Transform
from siglum.errors import BitstreamError
from siglum.kernels import dispatch

LEVEL = 150  # steps of about 0.04


def components(rng: np.random.Generator, width: int, rank: int, level: int = LEVEL) -> Components:
    """A random orthonormal transform whose components fall off in strength."""
    basis = np.linalg.qr(rng.standard_normal((width, rank)))[0].astype(np.float32)
    scale = np.sort(rng.integers(-700, 150, rank))[::-1].astype(np.int32)
    mean = rng.standard_normal(width).astype(np.float32)
    shift = rng.integers(-3, 4, rank).astype(np.int32)
    return Components(Transform(mean, basis, scale), level, scale, shift)


@pytest.fixture(params=dispatch.available_isas())
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SIGLUM_ISA", request.param)
    return str(request.param)


def rope_of(kind: str, dim: int) -> Rope | None:
    if kind == "none":
        return None
    return Rope(
        10000.0, dim // 2 if kind == "part" else dim, "interleaved" if kind == "interleaved" else "half"
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("kind", ["half", "interleaved", "part", "none"])
@pytest.mark.parametrize("dim", [64, 40])
def test_samples_to_components_and_back(isa: str, dtype: str, kind: str, dim: int) -> None:
    rng = np.random.default_rng(0)
    layers, heads, tokens, start = 2, 3, 101, 1000
    part = components(rng, layers * heads * dim, 97)
    rope = rope_of(kind, dim)
    samples = from_float(rng.standard_normal((layers, heads, tokens, dim)).astype(np.float32), dtype)
    turns = turns_of(rope, start, tokens)
    made = part.analyser(dim)(list(samples), dtype, turns)
    plain = as_float(samples, dtype)
    plain = plain if rope is None else rope.turn(plain, start, back=True)
    rows = plain.transpose(2, 0, 1, 3).reshape(tokens, -1) - part.transform.mean
    due = rows @ part.transform.analysis[:, part.coded] / part.step - part.offsets
    assert made is not None
    rounded = made.dtype == np.float32 and isa == "avx512"
    assert np.abs(made - due).max() < (0.02 if rounded else 1e-4) * np.abs(due).max()

    symbols = rng.integers(-700, 700, (tokens, part.count)).astype(np.int32)
    symbols[:, ~part.strong] //= 5
    out = np.zeros_like(samples)
    part.synthesise(symbols, turns, dtype, out)
    matrix = part.transform.synthesis[part.coded].astype(np.float64) * part.step
    back = part.transform.mean + (symbols + part.offsets) @ matrix
    wide = back.reshape(tokens, layers, heads, dim).transpose(1, 2, 0, 3).astype(np.float32)
    wide = wide if rope is None else rope.turn(wide, start)
    error = np.abs(as_float(out, dtype) - wide).max()
    assert error < (0.01 if isa == "avx512" or dtype == "bfloat16" else 1e-3) * np.abs(wide).max()


def test_samples_are_rounded_as_numpy_does(isa: str) -> None:
    values = np.concatenate(
        [
            np.array(
                [0, -0.0, 65504, 65519.9, 65520, 1e9, -1e9, 2**-24, 2**-25, 3 * 2**-25, 2**-14, 1 + 2**-11]
            ),
            np.random.default_rng(1).standard_normal(500) * np.logspace(-9, 4, 500),
        ]
    ).astype(np.float32)
    dim = len(values)
    nothing = Transform(values, np.zeros((dim, 0), np.float32), np.zeros(0, np.int32))
    part = Components(nothing, LEVEL, nothing.scale)
    out = np.zeros((1, 1, 1, dim), np.float16)
    part.synthesise(np.zeros((1, 0), np.int32), turns_of(None, 0, 1), "float16", out)
    due = np.clip(values, -65504, 65504).astype(np.float16)
    assert (out.ravel().view(np.uint16) == due.view(np.uint16)).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_what_is_not_finite_is_seen(isa: str, dtype: str) -> None:
    rng = np.random.default_rng(2)
    part = components(rng, 70, 9)
    for value in (np.inf, np.nan):
        samples = rng.standard_normal((1, 1, 30, 70)).astype(np.float32)
        samples[0, 0, 29, 69] = value
        with np.errstate(all="ignore"):
            cast = samples.astype(np.float16) if dtype == "float16" else from_float(samples, dtype)
        assert part.analyser(70)(list(cast), dtype, turns_of(None, 0, 30)) is None


@settings(deadline=None, max_examples=15)
@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(1, 64), min_size=1, max_size=7),
    st.integers(1, 80),
    st.floats(0.2, 4),
    st.booleans(),
)
def test_blocks_decode_as_the_reference_does(
    seed: int, lengths: list[int], rank: int, strength: float, corrected: bool
) -> None:
    rng = np.random.default_rng(seed)
    part = components(rng, 96, rank)
    spread = np.sqrt(part.variance) * strength * rng.uniform(0.5, 2, part.count)
    values = (rng.standard_normal((sum(lengths), part.count)) * spread).astype(np.float32)
    values *= rng.uniform(0.3, 3, (len(values), 1)).astype(np.float32)
    coded = coding.encode(part, values, lengths, 5 if corrected else 1)
    blocks, first = [], 0
    for length, one in zip(lengths, coded, strict=True):
        assert one is not None
        blocks.append(Block(Part(first, length, 0, 0), TRANSFORM, *one))
        first += length
    symbols, errors = coding.decode(part, blocks)
    assert errors == [None] * len(blocks)
    assert (symbols == np.rint(values)).all()
    for block in blocks:
        again, index = reference.decode(part, block.body, block.crc, block.part.tokens)
        assert (again == symbols[block.part.first : block.part.stop]).all()
        assert index.shape == again.shape


def test_a_damaged_block_is_told_from_its_neighbours() -> None:
    rng = np.random.default_rng(3)
    part = components(rng, 96, 60)
    values = (rng.standard_normal((192, part.count)) * np.sqrt(part.variance)).astype(np.float32)
    coded = coding.encode(part, values, [64, 64, 64], 5)
    blocks = [
        Block(Part(64 * i, 64, 0, 0), TRANSFORM, *one) for i, one in enumerate(coded) if one is not None
    ]
    for place in range(0, len(blocks[1].body), 61):
        body = bytearray(blocks[1].body)
        body[place] ^= 0x11
        for changed in (bytes(body), blocks[1].body[:place]):
            damaged = Block(blocks[1].part, TRANSFORM, changed, blocks[1].crc)
            symbols, errors = coding.decode(part, [blocks[0], damaged, blocks[2]])
            assert isinstance(errors[1], BitstreamError)
            assert errors[0] is None and errors[2] is None
            assert (symbols[:64] == np.rint(values[:64])).all() and (
                symbols[128:] == np.rint(values[128:])
            ).all()


def test_symbols_that_are_too_large_are_refused() -> None:
    part = components(np.random.default_rng(4), 32, 20)
    values = np.zeros((3, part.count), np.float32)
    for number in (32768.0, -40000.0, np.nan):
        values[1, 0] = number
        made = coding.encode(part, values, [1, 1, 1], 5)
        assert made[0] is not None and made[1] is None and made[2] is not None


def small_cache() -> KVCache:
    rng = np.random.default_rng(5)
    rope = Rope(10000.0, 32)
    drawn = [rng.standard_normal((2, 2, count, 32)).astype(np.float16) for count in (300, 170, 300)]
    layers = [Layer(keys, values, rope, 300 - keys.shape[1]) for keys, values in drawn]
    return KVCache(layers, "float16", "", 7)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_stream_has_what_reading_gives(threads: int) -> None:
    decoder = Decoder(io.BytesIO(compress(small_cache(), threads=1)), threads=threads)
    for chosen in (None, [2, 1], [1]):
        whole = decoder.read(20, 250, chosen)
        outline, order, parts = decoder.stream(20, 250, chosen)
        found = list(parts)
        assert [part[:2] for part in found] == order
        assert sorted(order) == [(layer, which) for layer in range(len(whole.layers)) for which in (0, 1)]
        for number, which, part in found:
            assert (part == whole.layers[number][which]).all()
            assert part.shape == np.shape(outline.layers[number][which])
        assert [layer[2:] for layer in outline.layers] == [layer[2:] for layer in whole.layers]
        assert outline.position == whole.position


def test_mapped_files_are_let_go_and_read_again(tmp_path: Path) -> None:
    write_cache(small_cache(), tmp_path / "cache.safetensors")
    mapped = read_cache(tmp_path / "cache.safetensors")
    assert len(mappings_of(mapped)) == 1 and not mappings_of(small_cache())
    file = io.BytesIO()
    with Encoder(file, threads=1) as encoder:
        encoder.append(mapped)
    assert file.getvalue() == compress(small_cache(), threads=1)
    forget(mappings_of(mapped))
    assert (np.asarray(mapped.layers[0].keys) == small_cache().layers[0].keys).all()
