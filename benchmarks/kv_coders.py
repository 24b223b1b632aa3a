"""The codecs of a KV benchmark by name: siglum's own and its rivals, each with its dial."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import siglum
from siglum.benchmarks.coder import Dial
from siglum.codecs.kv.baselines import BASELINES
from siglum.codecs.kv.baselines.frame import MODULES
from siglum.codecs.kv.cache import KVCache
from siglum.errors import UsageError

OURS = ("kv", "kv-free", "kv-fixed", "kv-fixed-free", "kv-lossless")
# What a rival's dial turns, and its usual values in order of growing rate.
DIALS: dict[str, tuple[str, tuple[float, ...]]] = {
    "turboquant": ("bits", (2, 3, 4)),
    "cachegen": ("level", (2, 1, 0)),
    "cachegen-paper": ("step", (1.5, 1.0, 0.5)),
    "kvtc": ("budget", (0.75, 1, 1.5, 2, 3)),
    "gear": ("bits", (2, 4)),
    "xkv": ("rank", (96, 192, 384)),
    "matryoshka": ("energy", (0.9, 0.97, 0.99)),
    "think": ("share", (0.6, 0.4, 0.2)),
    "group-vq": ("stages", (1, 2, 3)),
}
QUALITIES = (30.0, 40.0, 50.0, 60.0, 70.0, 80.0)
RATES = (1.0, 1.5, 2.0, 3.0)  # of `kv-fixed`
EVICT = "evict:"
SHARES = (0.25, 0.5, 0.75)
DEFAULT = ("kv", "kivi-4", "turboquant", "cachegen", "q8_0", "q4_0-hadamard")


@dataclass(frozen=True)
class KVCoder:
    """A codec of caches.

    Attributes
    ----------
    name, dials, version
        As of `siglum.benchmarks.coder.Coder`.
    encode, decode
        A cache and a value of the dial -> the whole file; the file -> the cache.
    settings
        A value of the dial -> everything that was set.
    calibration
        Of ours, where it is no installed one.
    """

    name: str
    dials: tuple[Dial, ...]
    version: str
    encode: Callable[[KVCache, Dial], bytes]
    decode: Callable[[bytes], KVCache]
    settings: Callable[[Dial], dict[str, Any]]
    calibration: Any = None


def names() -> tuple[str, ...]:
    """All names that `make` knows."""
    return (*OURS, *(name for name in MODULES))


def make(
    name: str,
    *,
    sinks: int = 4,
    window: int = 0,
    calibration: Any = "auto",
    fits: Mapping[str, Any] | None = None,
    threads: int = 1,
    effort: int | None = None,
) -> KVCoder:
    """Return the coder of a name; ``evict:NAME@DIAL`` drops tokens before a codec with a fixed dial.

    Parameters
    ----------
    sinks, window
        First and last tokens that are kept (nearly) as they are; the same for all.
    calibration
        Of `kv`: see `KVConfig`.
    fits
        What rivals were fitted to, by name (`siglum.benchmarks.kv_fit`).
    threads, effort
        Of `kv`.

    Raises
    ------
    UsageError
        If there is none of that name, or it must be fitted and was not.
    """
    if name.startswith(EVICT):
        inner, _, dial = name.removeprefix(EVICT).partition("@")
        options = {
            "sinks": sinks,
            "calibration": calibration,
            "fits": fits,
            "threads": threads,
            "effort": effort,
        }
        return _evicting(name, make(inner, **options), dial, window, (fits or {}).get("queries"))
    if name not in names():
        raise UsageError(f"unknown codec {name!r}; there are {', '.join(names())}")
    if name in OURS:
        return _ours(name, sinks, window, calibration, threads, effort)
    fixed: dict[str, Any] = {"sinks": sinks, "window": window}
    made = BASELINES.find(name)
    hidden: dict[str, Any] = {}
    if getattr(made, "needs_fit", False):
        if not fits or name not in fits:
            raise UsageError(f"{name} is fitted to caches first: name a folder of them with --fit")
        hidden["fitted"] = fits[name]
    turned, dials = DIALS.get(name, ("", (None,)))

    def settings(dial: Dial) -> dict[str, Any]:
        if not turned:
            return fixed
        if turned == "bits" and name == "turboquant":
            return fixed | {"key_bits": int(dial or 4), "value_bits": int(dial or 4)}
        whole = (
            dial is not None and float(dial).is_integer() and turned in ("bits", "level", "rank", "stages")
        )
        return fixed | {turned: int(dial) if whole and dial is not None else dial}

    def coder(dial: Dial) -> Any:
        return BASELINES.get(name, **settings(dial), **hidden)

    from siglum.codecs.kv.baselines import decode

    return KVCoder(
        name,
        dials,
        f"rival, siglum {siglum.__version__}",  # not ours: the report tells them apart by the first word
        lambda cache, dial: bytes(coder(dial).encode(cache)),
        lambda data: decode(data, hidden.get("fitted")),
        settings,
    )


def _ours(name: str, sinks: int, window: int, calibration: Any, threads: int, effort: int | None) -> KVCoder:
    from siglum.codecs.kv.codec import KVCodec, decompress

    fixed: dict[str, Any] = {"sinks": sinks, "window": window, "threads": threads}
    if effort is not None:
        fixed["effort"] = effort
    if name == "kv-lossless":
        fixed["lossless"] = True
    chosen = None if name.endswith("-free") else calibration
    turned = "bits" if name.startswith("kv-fixed") else "quality"
    said = "none" if chosen is None else str(chosen)
    if chosen not in (None, "auto"):  # loaded once, as whoever serves a model does
        from siglum.codecs.kv.calibration import find

        chosen = find(chosen)
        said = chosen.id.hex()

    def settings(dial: Dial) -> dict[str, Any]:
        shown = {**fixed, "calibration": said}
        return shown if dial is None else shown | {turned: dial}

    def encode(cache: KVCache, dial: Dial) -> bytes:
        dialled = {} if dial is None else {turned: dial}
        return KVCodec(**fixed, **dialled, calibration=chosen).encode(cache)

    given = None if chosen == "auto" else chosen

    def decode(data: bytes) -> KVCache:
        return decompress(data, calibration=given, threads=threads)

    dials: tuple[Dial, ...] = (
        (None,) if name == "kv-lossless" else QUALITIES if turned == "quality" else RATES
    )
    return KVCoder(name, dials, f"siglum {siglum.__version__}", encode, decode, settings, given)


def _evicting(
    name: str, inner: KVCoder, dial: str, window: int, queries: Mapping[str, Any] | None
) -> KVCoder:
    from siglum.codecs.kv.baselines import policy

    try:
        fixed = float(dial) if dial else inner.dials[-1]
    except ValueError:
        raise UsageError(f"{name!r} has no number after the @") from None

    def chosen(share: Dial) -> policy.TokenPolicy:
        kept = 0.5 if share is None else share
        if queries is None:
            return policy.KeyNorm(kept, window=max(window, 32))
        return policy.ExpectedAttention(kept, window=max(window, 32), queries=queries)

    return KVCoder(
        name,
        SHARES,
        inner.version,
        lambda cache, share: policy.encode(cache, chosen(share), lambda kept: inner.encode(kept, fixed)),
        lambda data: policy.decode(data, inner.decode),
        lambda share: inner.settings(fixed) | {"keep": share, "policy": type(chosen(share)).__name__},
    )
