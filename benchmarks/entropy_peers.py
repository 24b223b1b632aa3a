"""Other entropy coders, called the way that their own users would call them, with all preparation done."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from siglum.benchmarks.entropy_coders import Absent, Coder, Ready
from siglum.benchmarks.entropy_sources import Task
from siglum.entropy.tables import normalise

_COMPRESSAI_PRECISION = 16


def peer_coders() -> list[Coder]:
    """The peers, and memcpy as the bound of any."""
    coders = [
        Coder("constriction", f"{kind}, {model}", _constriction(kind, model), "constriction", every_size=True)
        for kind in ("ANS", "Range")
        for model in ("Categorical", "QuantizedGaussian")
    ]
    coders += [
        Coder(
            "compressai", "lists ready", lambda task: _compressai(task, True), "compressai", every_size=True
        ),
        Coder("compressai", "NumPy in and out", lambda task: _compressai(task, False), "compressai"),
        Coder("torch_ans", "rans64, 4 interleaved, 15 bits", _torch_ans("rans64", 4, 15), "torch-ans"),
        Coder(
            "torch_ans", "rans32_16, 32 interleaved, 12 bits", _torch_ans("rans32_16", 32, 12), "torch-ans"
        ),
    ]
    for level, settings in ((1, "level 1 (zstd -1)"), (3, "level 3"), (-1, "level -1 (zstd --fast=1)")):
        coders.append(Coder("zstd", settings, _zstd(level), "zstandard", every_size=level == 1))
    return [*coders, Coder("memcpy", "", _memcpy, "numpy", every_size=True)]


def _load(name: str, hint: str = "") -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Absent(f"not installed: pip install {hint or name}") from error


def _constriction(kind: str, model: str) -> Any:
    def prepare(task: Task) -> Ready | None:
        if (model == "Categorical") != (task.scales is None):
            return None
        stream = _load("constriction").stream
        parameters: tuple[Any, ...] = ()
        if task.scales is None:
            family = stream.model.Categorical(task.mass[0], perfect=False)
            symbols = task.int32 - np.int32(task.first)
        else:
            reach = -task.first
            family, symbols = stream.model.QuantizedGaussian(-reach, reach), task.int32
            spread = task.scales[task.indexes]
            parameters = (np.zeros(task.count), spread)
        sizes = parameters or (task.count,)  # what the decoder takes

        def encode() -> Any:
            if kind == "ANS":
                coder = stream.stack.AnsCoder()
                coder.encode_reverse(symbols, family, *parameters)
            else:
                coder = stream.queue.RangeEncoder()
                coder.encode(symbols, family, *parameters)
            return coder.get_compressed()

        def decode(words: Any) -> Any:
            coder = stream.stack.AnsCoder(words) if kind == "ANS" else stream.queue.RangeDecoder(words)
            return coder.decode(family, *sizes)

        shift = task.first if task.scales is None else 0
        return Ready(encode, decode, lambda words: int(words.nbytes), lambda found: found + shift)

    return prepare


def _extension(package: str, name: str) -> ModuleType:
    """One compiled module of a package whose own import needs more than is installed."""
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    for folder in folders:
        for path in sorted(Path(folder).glob(f"{name}.*")):
            if path.suffix in (".so", ".pyd"):
                found = importlib.util.spec_from_file_location(f"{package}.{name}", path)
                assert found is not None and found.loader is not None
                module = importlib.util.module_from_spec(found)
                found.loader.exec_module(module)
                return module
    raise Absent(f"not installed: pip install --no-deps {package}")


def _compressai(task: Task, lists: bool) -> Ready:
    ans = _extension("compressai", "ans")
    if task.count < 2:
        raise Absent("not run: of a single symbol its encoder aborts the process")
    quantise = _extension("compressai", "_CXX").pmf_to_quantized_cdf
    cdfs, offsets = [], []
    for row in task.mass:
        kept = np.flatnonzero(row >= 2.0 ** -(_COMPRESSAI_PRECISION + 1))
        tail = max(1.0 - float(row[kept].sum()), 1e-9)
        cdfs.append(quantise([*row[kept].tolist(), tail], _COMPRESSAI_PRECISION))
        offsets.append(int(kept[0]) + task.first)
    sizes = [len(cdf) for cdf in cdfs]
    numbers = np.zeros(task.count, dtype=np.int32) if task.indexes is None else task.indexes.astype(np.int32)
    ready_symbols, ready_numbers = task.int32.tolist(), numbers.tolist()
    encoder, decoder = ans.RansEncoder(), ans.RansDecoder()

    def encode() -> Any:
        values, which = (ready_symbols, ready_numbers) if lists else (task.int32.tolist(), numbers.tolist())
        return encoder.encode_with_indexes(values, which, cdfs, sizes, offsets)

    def decode(payload: Any) -> Any:
        which = ready_numbers if lists else numbers.tolist()
        found = decoder.decode_with_indexes(payload, which, cdfs, sizes, offsets)
        return found if lists else np.array(found, dtype=np.int32)

    return Ready(encode, decode)


def _torch_ans(implementation: str, interleaves: int, precision: int) -> Any:
    # Never more than 15 bits: with 16 and 64 tables the extension was seen not to return.
    def prepare(task: Task) -> Ready:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of versions of torch
            interface = _load("torch_ans.utils", "torch-ans").TorchANSInterface
        import torch

        torch.set_num_threads(1)
        options = {"impl": implementation, "num_interleaves": interleaves, "freq_precision": precision}
        if task.indexes is None:
            coder = interface(**options, inverse_cdf_precision="auto")
            kept = np.flatnonzero(task.mass[0] >= 0.25 / 2**precision)  # the rest by its bypass
            row = torch.from_numpy(task.mass[:, kept].astype(np.float32))
            coder.init_params(row, torch.tensor([len(kept)]), torch.tensor([int(kept[0]) + task.first]))
        else:  # `init_params` takes only rows of one length, and only it builds its lookup
            coder = interface(**options)
            coder.set_cdfs(*map(torch.from_numpy, _ragged(task, precision)))
        symbols = torch.from_numpy(task.int32)[None]
        numbers = (
            np.zeros(task.count, dtype=np.int32) if task.indexes is None else task.indexes.astype(np.int32)
        )
        which = torch.from_numpy(numbers)[None]
        return Ready(
            lambda: coder.encode_with_indexes(symbols, which),
            lambda payload: coder.decode_with_indexes(payload, which),
            array=lambda found: found[0].numpy(),
        )

    return prepare


def _ragged(task: Task, precision: int) -> tuple[Any, Any, Any]:
    """Cumulative frequencies with the escape last in rows filled up, their lengths, the first symbols."""
    rows, firsts = [], []
    for row in task.mass:
        kept = np.flatnonzero(row >= 0.25 / 2**precision)
        tail = max(1.0 - float(row[kept].sum()), 1e-9)
        weights = [round(float(p) * 2**32) for p in [*row[kept], tail]]
        rows.append([0, *np.cumsum(normalise(weights, precision)).tolist()])
        firsts.append(int(kept[0]) + task.first)
    longest = max(map(len, rows))
    filled = np.array([row + [1 << precision] * (longest - len(row)) for row in rows], dtype=np.int32)
    return filled, np.array([len(row) for row in rows], dtype=np.int32), np.array(firsts, dtype=np.int32)


def _zstd(level: int) -> Any:
    def prepare(task: Task) -> Ready | None:
        if task.indexes is not None:
            return None  # it has no tables to choose from
        zstandard = _load("zstandard")
        compressor, decompressor = zstandard.ZstdCompressor(level=level), zstandard.ZstdDecompressor()
        data = task.symbols.tobytes()
        return Ready(
            lambda: compressor.compress(data),
            lambda payload: decompressor.decompress(payload),
            array=lambda found: np.frombuffer(found, dtype=np.uint8),
        )

    return prepare


def _memcpy(task: Task) -> Ready:
    there, back = np.empty_like(task.symbols), np.empty_like(task.symbols)

    def copy(target: Any, source: Any) -> Any:
        np.copyto(target, source)
        return target

    return Ready(
        lambda: copy(there, task.symbols), lambda data: copy(back, data), lambda data: int(data.nbytes)
    )
