"""Caches of real text x codecs x settings -> rows: bytes of whole files, and what the model makes of the result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from siglum.benchmarks.coder import Dial
from siglum.benchmarks.kv_coders import KVCoder
from siglum.benchmarks.kv_documents import Document
from siglum.benchmarks.kv_health import health
from siglum.benchmarks.kv_model import Model, agreement
from siglum.benchmarks.machine import commit, machine, versions
from siglum.benchmarks.rows import Key, Row, line_of, read_rows, write_rows
from siglum.codecs.kv.cache import KVCache, as_float
from siglum.errors import UsageError


@dataclass(frozen=True)
class Bench:
    """What is measured, and how.

    Attributes
    ----------
    coders, dials
        The codecs, and values of their dials by name, in place of their own.
    model
        Goes on from decoded caches; None: bytes, errors and speeds only.
    generate
        Tokens to write greedily after each cache; 0: none.
    first_token
        Whether to time the first token after loading a file, and after computing the prefix anew.
    repeats
        Calls of each coder; the quickest counts.
    health
        Whether to say what the tables of `kv` ask for beside what its files have.
    save
        Folder to keep the caches of texts in.
    """

    coders: Sequence[KVCoder]
    dials: dict[str, tuple[float, ...]]
    model: Model | None = None
    generate: int = 0
    first_token: bool = False
    repeats: int = 1
    save: Path | None = None
    health: bool = False

    def run(
        self,
        documents: Sequence[Document],
        path: Path,
        command: str,
        *,
        resume: bool = False,
        progress: Callable[[Iterable[Row], int], Iterable[Row]] = lambda rows, count: rows,
    ) -> list[Row]:
        """Measure everything, document by document, and leave the rows in a file; returns them.

        Every row is on disk as soon as it is measured. With ``resume``, rows that are there are kept.

        Raises
        ------
        UsageError
            If the file to go on with holds rows of another machine, or something else.
        """
        known = _kept(path) if resume and path.exists() else {}
        tasks = [(document, list(self._tasks(document))) for document in documents]
        keys = {row.key for _, planned in tasks for _, _, row in planned}
        kept = [row for row in known.values() if row.failure is None]
        header = self._run_line(command, documents)
        write_rows(path, header, kept)
        todo = sum(
            row.key not in known or known[row.key].failure is not None for _, p in tasks for *_, row in p
        )
        found = {row.key: row for row in kept}
        with path.open("a") as file:

            def measured() -> Iterator[Row]:
                for document, planned in tasks:
                    missing = [task for task in planned if task[2].key not in found]
                    for row in self._rows(document, missing) if missing else ():
                        found[row.key] = row
                        file.write(line_of(row))
                        file.flush()
                        yield row

            for _ in progress(measured(), todo):
                pass
        ordered = [found[row.key] for _, planned in tasks for _, _, row in planned if row.key in found]
        rows = ordered + [row for key, row in found.items() if key not in keys]
        write_rows(path, header, rows)
        return rows

    def _tasks(self, document: Document) -> Iterator[tuple[KVCoder, Dial, Row]]:
        digest = document.sha256
        for coder in self.coders:
            given = self.dials.get(coder.name, self.dials.get("", coder.dials))
            for dial in given if coder.dials != (None,) else (None,):
                value = None if dial is None else float(dial)
                settings = coder.settings(value)
                row = Row(coder.name, document.name, digest, "kv", value, settings, coder.version, threads=1)
                yield coder, value, row

    def _rows(self, document: Document, tasks: list[tuple[KVCoder, Dial, Row]]) -> Iterator[Row]:
        try:
            cache = document.cache(self.model)
            if self.save is not None and document.path is None:
                document.save(self.save, cache)
            after = _After(self, document, cache)
        except Exception as error:
            yield from (replace(row, failure=_failure("read", error)) for *_, row in tasks)
            return
        for coder, dial, row in tasks:
            yield self._row(
                coder, dial, replace(row, units=float(cache.elements), rate_unit="bpe"), cache, after
            )

    def _row(self, coder: KVCoder, dial: Dial, row: Row, cache: KVCache, after: _After) -> Row:
        try:
            data, seconds = _timed(lambda: coder.encode(cache, dial), self.repeats)
        except Exception as error:
            return replace(row, failure=_failure("encode", error))
        row = replace(
            row,
            bytes=len(data),
            rate=8 * len(data) / cache.elements,
            sha256=sha256(data).hexdigest(),
            encode_s=seconds,
        )
        if self.health and coder.name in ("kv", "kv-free"):
            row = replace(row, health=health(coder, cache, dial))
        try:
            decoded, seconds = _timed(lambda: coder.decode(data), self.repeats)
        except Exception as error:
            return replace(row, failure=_failure("decode", error))
        row = replace(row, decode_s=seconds)
        try:
            return replace(row, metrics=errors(cache, decoded) | after.metrics(decoded, seconds))
        except Exception as error:
            return replace(row, failure=_failure("metric", error))

    def _run_line(self, command: str, documents: Sequence[Document]) -> dict[str, Any]:
        return {
            "command": command,
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "commit": commit(),
            "machine": machine(),
            "versions": versions(),
            "data": [
                {"path": document.name, "items": 1, "sha256": document.sha256} for document in documents
            ],
            "threads": 1,
            "seed": 0,
            "missing_metrics": {} if self.model else {"kl": "no model: name one with --model"},
        }


def _dataset(documents: Sequence[Document]) -> dict[str, Any]:
    digest = sha256("".join(document.sha256 for document in documents).encode()).hexdigest()
    ends = dict.fromkeys(document.name for document in (documents[0], documents[-1]))
    return {"path": " … ".join(ends), "items": len(documents), "sha256": digest}


class _After:
    """What the model predicts after the original cache; computed once for a document."""

    def __init__(self, bench: Bench, document: Document, cache: KVCache) -> None:
        self.bench, self.document = bench, document
        self.model = bench.model if len(document.continuation) > 1 else None
        if self.model is None:
            return
        self.tokens = cache.tokens
        self.predicted = self.model.follow(cache, document.continuation)
        first, count = document.continuation[0], bench.generate
        self.written = self.model.generate(cache, first, count) if count else []
        if bench.first_token and document.recompute_s is None:
            _, document.recompute_s = self.model.prefill(document.tokens)

    def metrics(self, decoded: KVCache, seconds: float) -> dict[str, float | None]:
        """By name; those that need the model only if there is one."""
        if self.model is None:
            return {}
        tokens = self.document.continuation
        got = agreement(
            self.predicted, self.model.follow(decoded, tokens, self.tokens), tokens, self.document.answer
        )
        found: dict[str, float | None] = {
            "kl": got.kl, "kl_p50": got.kl_median, "kl_p99": got.kl_high,
            "ppl_change": got.ppl_change, "top1": got.top1,
        }  # fmt: skip
        if got.answer is not None:
            found["needle"] = got.answer
        if self.written:
            said = self.model.generate(decoded, tokens[0], len(self.written), self.tokens)
            same = [a == b for a, b in zip(said, self.written, strict=True)]
            found["generation"] = (same.index(False) if False in same else len(same)) / len(same)
        if self.bench.first_token:
            start = perf_counter()
            self.model.generate(decoded, tokens[0], 1, self.tokens)
            found["first_token_s"] = seconds + perf_counter() - start
            found["recompute_s"] = self.document.recompute_s
        return found


def errors(cache: KVCache, decoded: KVCache) -> dict[str, float | None]:
    """Mean squared errors of keys and of values over their own variance; none where tokens were dropped.

    Raises
    ------
    ValueError
        If shapes or types differ, or something decoded is not finite.
    """
    found: dict[str, float | None] = {}
    if decoded.tokens < cache.tokens:  # some were dropped on purpose
        return found
    if decoded.dtype != cache.dtype or len(decoded.layers) != len(cache.layers):
        raise ValueError(
            f"{len(cache.layers)} layers of {cache.dtype} became {len(decoded.layers)} of {decoded.dtype}"
        )
    for place, name in enumerate(("keys", "values")):
        lost = power = 0.0
        for mine, theirs in zip(cache.layers, decoded.layers, strict=True):
            x, y = as_float(mine[:2][place], cache.dtype), as_float(theirs[:2][place], cache.dtype)
            if x.shape != y.shape or not np.isfinite(y).all():
                raise ValueError(f"{name} of shape {x.shape} became {y.shape}, or are not finite")
            lost += float(np.square(x - y).sum(dtype=np.float64))
            power += float(np.square(x - x.mean(1, keepdims=True)).sum(dtype=np.float64))
        found[f"error_{name}"] = lost / power if power else None
    return found


def _timed(call: Callable[[], Any], repeats: int) -> tuple[Any, float]:
    best = float("inf")
    for _ in range(repeats):
        start = perf_counter()
        result = call()
        best = min(best, perf_counter() - start)
    return result, best


def _kept(path: Path) -> dict[Key, Row]:
    run, rows = read_rows(path)
    if run and run.get("machine") != machine():
        raise UsageError(f"{path} was measured on another machine: name a new file")
    return {row.key: row for row in rows}


def _failure(stage: str, error: Exception) -> dict[str, str]:
    return {"stage": stage, "message": " ".join(f"{type(error).__name__}: {error}".split())}
