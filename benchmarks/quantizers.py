"""Quantizers beside each other: ``codec bench quantizers``.

Two parts. The search for the nearest codeword alone: siglum's kernel, faiss and torch take turns on the same
vectors, one thread, thread CPU time, the least of all turns. Then whole quantizers of equally many bits, trained on
the same vectors and tested on others: distortion, use of the codewords, CPU time of training and encoding, growth of
the resident memory while they run.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import process_time, thread_time
from typing import Any, Literal

import numpy as np

from siglum.benchmarks.entropy import FAILURES
from siglum.benchmarks.entropy_coders import Absent
from siglum.benchmarks.quantizer_methods import Fitted, Method, usage_of
from siglum.benchmarks.quantizer_searches import Search, searches
from siglum.benchmarks.quantizer_sources import Source

PACKAGES = ("siglum", "numpy", "torch", "faiss-cpu", "vector-quantize-pytorch")
SIZES = ((8, 1024), (8, 4096), (64, 1024), (64, 4096))
"""Dimensions and codewords of the searches."""
VECTORS = 16_384
SECONDS = 1.0
"""Of a search in all its turns, at least."""
LARGE = (1_000_000, 8, 65_536)
"""Vectors, dimension and codewords of the search whose memory counts."""


@dataclass(frozen=True)
class SearchRow:
    """One way to search a codebook.

    Attributes
    ----------
    vectors, dimension, codewords
        N, D and K.
    gflops
        2 N K D operations by the least CPU time of a call, in 1e9 a second; None if there is no such package.
    slower
        How many times the time of siglum's search.
    equal
        Share of vectors whose codeword is as near as float64 says, within 1e-5 of the distance.
    peak_mb
        Growth of the resident memory in a call, in 1e6 bytes; None where the system does not tell.
    note
        Why there are no figures.
    """

    name: str
    settings: str
    version: str
    vectors: int
    dimension: int
    codewords: int
    gflops: float | None = None
    slower: float | None = None
    equal: float | None = None
    peak_mb: float | None = None
    note: str = ""
    kind: Literal["search"] = "search"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Row:
    """One quantizer on the vectors of one source.

    Attributes
    ----------
    source, dimension, train_vectors, test_vectors
        What was quantized.
    name, settings, version
        By whom.
    codes, bits
        Codes of a vector, and bits of each.
    distortion
        Squared error of the test vectors by their squared distance from the mean of the training vectors.
    snr_db
        The same in decibels.
    used, perplexity
        Share of the codewords that the test vectors use, and 2 to the entropy of their codes; means over the codes.
    train_s, encode_us, decode_us
        CPU time: of training in seconds, of a vector in microseconds.
    peak_mb
        Growth of the resident memory in training and encoding, in 1e6 bytes.
    note
        Why there are no figures.
    """

    source: str
    dimension: int
    train_vectors: int
    test_vectors: int
    name: str
    settings: str
    package: str
    version: str
    codes: int
    bits: int
    distortion: float | None = None
    snr_db: float | None = None
    used: float | None = None
    perplexity: float | None = None
    train_s: float | None = None
    encode_us: float | None = None
    decode_us: float | None = None
    peak_mb: float | None = None
    note: str = ""
    kind: Literal["quantizer"] = "quantizer"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def run_searches(seed: int = 0) -> Iterator[SearchRow]:
    """Time the searches of `VECTORS` normal vectors in codebooks of all `SIZES`, at least three calls of each."""
    rng = np.random.default_rng(seed)
    for dimension, codewords in SIZES:
        x = rng.standard_normal((VECTORS, dimension), np.float32)
        codebook = rng.standard_normal((codewords, dimension), np.float32)
        yield from _time(searches(), x, codebook)


def run_large(seed: int = 0) -> SearchRow:
    """Search once, and watch the memory of it all: vectors, codewords, what is packed, results."""
    rng = np.random.default_rng(seed)
    shape, way = LARGE, searches()[0]

    def whole() -> float:
        x = rng.standard_normal(shape[:2], np.float32)
        call = way.prepare(x, rng.standard_normal((shape[2], shape[1]), np.float32))
        start = thread_time()
        call()
        return thread_time() - start

    seconds, peak = watched(whole)
    rate = 2 * np.prod([float(n) for n in shape]) / seconds / 1e9
    settings = f"{way.settings}; memory with the vectors"
    return SearchRow(way.name, settings, _version(way.package), *shape, rate, 1.0, None, peak)


def _time(ways: list[Search], x: Any, codebook: Any) -> Iterator[SearchRow]:
    rows: dict[int, SearchRow] = {}
    calls: dict[int, Callable[[], Any]] = {}
    least: dict[int, float] = {}
    peaks, found = {}, {}
    shape = (len(x), x.shape[1], len(codebook))
    for place, way in enumerate(ways):
        row = SearchRow(way.name, way.settings, _version(way.package), *shape)
        rows[place] = row
        try:
            calls[place] = way.prepare(x, codebook)
            found[place], peaks[place] = watched(calls[place])
        except (Absent, *FAILURES) as error:
            rows[place] = SearchRow(way.name, way.settings, row.version, *shape, note=_reason(error))
            calls.pop(place, None)
    spent = dict.fromkeys(calls, 0.0)
    for turn in range(1000):
        for place, call in calls.items():
            if turn >= 3 and spent[place] > SECONDS:
                continue
            start = thread_time()
            call()
            elapsed = thread_time() - start
            spent[place] += elapsed
            least[place] = min(least.get(place, elapsed), elapsed)
        if turn >= 3 and all(value > SECONDS for value in spent.values()):
            break
    sample = np.linspace(0, len(x) - 1, min(len(x), 512)).astype(int)
    truth = _squares(x[sample], codebook)
    for place, row in rows.items():
        if place not in least:
            yield row
            continue
        got = np.take_along_axis(truth, np.asarray(found[place])[sample].reshape(-1, 1).astype(int), 1)[:, 0]
        equal = float(np.mean(got <= truth.min(1) * (1 + 1e-5) + 1e-9))
        rate = 2 * np.prod([float(n) for n in shape]) / least[place] / 1e9
        yield SearchRow(
            row.name, row.settings, row.version, *shape, rate, least[place] / least[0], equal, peaks[place]
        )


def _squares(x: Any, codebook: Any) -> Any:
    wide, others = x.astype(np.float64), codebook.astype(np.float64)
    return np.square(wide).sum(1)[:, None] - 2 * wide @ others.T + np.square(others).sum(1)


def run(
    sources: Iterable[Source],
    methods: Iterable[Method],
    codes: int,
    bits: int,
    seed: int = 0,
    progress: Callable[[str], None] = lambda line: None,
) -> Iterator[Row]:
    """Train and test every quantizer on every source.

    Parameters
    ----------
    sources, methods
        Of `siglum.benchmarks.quantizer_sources` and `siglum.benchmarks.quantizer_methods`.
    codes, bits
        Codes of a vector and bits of each: the same for all.
    seed
        Of the trainings.
    progress
        Gets a line for every quantizer.
    """
    chosen = list(methods)
    for source in sources:
        for method in chosen:
            progress(f"{source.name}: {method.package} {method.name}")
            yield _measure(source, method, codes, bits, seed)


def _measure(source: Source, method: Method, codes: int, bits: int, seed: int) -> Row:
    known: dict[str, Any] = {
        "source": source.name,
        "dimension": source.dimension,
        "train_vectors": len(source.train),
        "test_vectors": len(source.test),
        "name": method.name,
        "settings": method.settings,
        "package": method.package,
        "version": _version(method.package),
        "codes": codes,
        "bits": bits,
    }
    seconds: list[float] = []

    def whole() -> tuple[Fitted, Any]:
        start = process_time()
        fitted = method.train(source.train, codes, bits, seed)
        seconds.append(process_time() - start)
        return fitted, fitted.encode(source.test)

    try:
        (fitted, coded), peak = watched(whole)
        encoding = _least(lambda: fitted.encode(source.test))
        decoded = fitted.decode(coded)
        decoding = _least(lambda: fitted.decode(coded))
        used, perplexity = usage_of(fitted.codes(coded), bits)
    except (Absent, *FAILURES) as error:
        return Row(**known, note=_reason(error))
    error_energy = np.square(source.test.astype(np.float64) - decoded).sum()
    energy = np.square(source.test - source.train.mean(0, dtype=np.float64)).sum()
    distortion = float(error_energy / energy)
    return Row(
        **known,
        distortion=distortion,
        snr_db=float(-10 * np.log10(distortion)) if distortion else None,
        used=used,
        perplexity=perplexity,
        train_s=seconds[0],
        encode_us=encoding / len(source.test) * 1e6,
        decode_us=decoding / len(source.test) * 1e6,
        peak_mb=peak,
    )


def _least(call: Callable[[], object], seconds: float = 1.0) -> float:
    """CPU time of the quickest of up to ten calls, fewer if they take longer than this."""
    times: list[float] = []
    while len(times) < 10 and (not times or sum(times) < seconds):
        start = process_time()
        call()
        times.append(process_time() - start)
    return max(min(times), 1e-9)


def watched(call: Callable[[], Any]) -> tuple[Any, float | None]:
    """Call, and return the result with the growth of the peak of the resident memory, in 1e6 bytes."""
    before = _resident("VmRSS") if _forget_peak() else None
    result = call()
    peak = _resident("VmHWM")
    return result, None if before is None or peak is None else max(peak - before, 0) / 1e6


def _forget_peak() -> bool:
    """Let Linux measure the peak of the resident memory anew; False where it cannot."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # what is free, but kept, would hide what is needed
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _resident(field: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":")), None)


def _reason(error: Exception) -> str:
    text = (str(error) or repr(error)).splitlines()[0]
    return text if isinstance(error, Absent) else f"failed: {text}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
