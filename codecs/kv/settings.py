"""Settings of the `kv` codec, and what its quality means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from siglum.errors import UsageError

MAX_LEVEL = 255
AUTO = "auto"


@dataclass(frozen=True)
class KVConfig:
    """Settings; `KVCodec(**config.to_dict())` gives the same codec again.

    Attributes
    ----------
    quality
        0 (smallest) to 100.
    lossless
        Every bit as it was.
    bits
        A fixed rate in place of the quality: bits an element that every token takes, 0.1 to 8.
    calibration
        "auto": the installed one of the cache's model, else none. None: none; the transform is estimated from the
        cache and sent. Or a `Calibration`, the path of its file, or the name of an installed one.
    sinks
        How many of the first tokens are coded finely: attention rests on them.
    window
        How many of the last tokens are coded finely.
    effort
        1 (fast) to 9: from 4, blocks correct the scales of their tokens and components, 2 to 3 % fewer bits;
        from 5, files have factors of the cache where
        they pay, most in domains that the calibration does not know; that search takes as long as all else.
    group
        Layers that share a transform where no calibration says; None: by the number of tokens.
    threads
        None: as many as there are CPUs.
    """

    quality: float = 60.0
    lossless: bool = False
    bits: float | None = None
    calibration: Any = AUTO
    sinks: int = 4
    window: int = 0
    effort: int = 5
    group: int | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.quality <= 100:
            raise UsageError(f"quality is 0 to 100, not {self.quality}")
        if self.bits is not None and not 0.1 <= self.bits <= 8:
            raise UsageError(f"bits are 0.1 to 8 an element, not {self.bits}")
        if self.bits is not None and self.lossless:
            raise UsageError("lossless coding has no fixed rate: leave out bits")
        if not 0 <= self.sinks <= 64:
            raise UsageError(f"sinks are 0 to 64 tokens, not {self.sinks}")
        if self.window < 0:
            raise UsageError(f"window is 0 tokens or more, not {self.window}")
        if not 1 <= self.effort <= 9:
            raise UsageError(f"effort is 1 to 9, not {self.effort}")
        if self.group is not None and not 1 <= self.group <= 64:
            raise UsageError(f"group is 1 to 64 layers, not {self.group}")

    @property
    def level(self) -> int:
        """The quality as the header has it, 0 to 255."""
        return round(self.quality * MAX_LEVEL / 100)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, unless the calibration is an object."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


__all__ = ["AUTO", "MAX_LEVEL", "KVConfig"]
