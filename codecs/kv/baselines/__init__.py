"""Rivals of the `kv` codec, a page each, with real bytes: what `codec bench kv` measures it against.

They share a frame (`frame.Baseline`): the first tokens and the last ones as they are, everything between by the
method. Nothing of them is meant for files that are kept; their format may change with every version.
"""

from __future__ import annotations

from siglum.codecs.kv.baselines.frame import BASELINES, Arrays, Baseline, decode

__all__ = ["BASELINES", "Arrays", "Baseline", "decode"]
