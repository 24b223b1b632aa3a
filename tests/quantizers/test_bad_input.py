"""What is wrong is refused, with the argument's name, what was given and what is wanted."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from siglum import quantizers  # noqa: E402
from siglum.errors import UnknownCodecError, UsageError  # noqa: E402
from siglum.quantizers.codebook import make_codebook  # noqa: E402

sys.path.append(str(Path(__file__).parent))
from quantizer_cases import NAMES, started, vectors  # noqa: E402

every = pytest.mark.parametrize("name", NAMES)


def refused(pattern: str) -> Any:
    return pytest.raises(ValueError, match=re.escape(pattern))


@every
@pytest.mark.parametrize("method", ["encode", "forward", "start"])
def test_vectors(name: str, method: str) -> None:
    call = getattr(started(name), method)
    with refused("x has shape (3, 7), wanted (..., 8)"):
        call(torch.zeros(3, 7))
    with refused("x has shape (0, 8): no vectors, wanted (..., 8)"):
        call(torch.zeros(0, 8))
    with refused("x has shape (), wanted (..., 8)"):
        call(torch.tensor(0.0))
    for bad in (float("nan"), float("inf"), -float("inf")):
        x = vectors(5)
        x[2, 3] = bad
        with refused("x of shape (5, 8) has NaN or infinite values"):
            call(x)
    with refused("floating-point"):
        call(torch.zeros(3, 8, dtype=torch.int64))
    with refused("floating-point"):
        call([[0.0] * 8])


@every
def test_codes(name: str) -> None:
    quantizer = started(name)
    s = quantizer.stages
    with refused(
        f"codes of shape (2, {s}) are out of range in stage 0, wanted 0 to {quantizer.sizes[0] - 1}"
    ):
        quantizer.decode(torch.full((2, s), quantizer.sizes[0]))
    with refused("out of range in stage 0"):
        quantizer.rate(torch.full((2, s), -1))
    with refused(f"codes has shape (2, {s + 1}), wanted (..., 1 to {s})"):
        quantizer.decode(torch.zeros(2, s + 1, dtype=torch.int64))
    with refused(f"codes has shape (0, {s}): no codes"):
        quantizer.decode(torch.zeros(0, s, dtype=torch.int64))
    with refused("integer tensor"):
        quantizer.decode(torch.zeros(2, s))
    for stages in (0, s + 1, 1.5, True):
        with refused(f"stages is {stages!r}, wanted an integer from 1 to {s}"):
            quantizer.encode(vectors(2), stages=stages)
    with refused("beam is 0"):
        quantizer.encode(vectors(2), beam=0)


@pytest.mark.parametrize("name", ["vector", "residual", "group-residual", "product", "additive", "cascade"])
def test_more_codewords_than_data(name: str) -> None:
    with refused("wanted at least"):
        quantizers.from_config(started(name).config()).start(vectors(3))
    if hasattr(started(name), "fit"):
        with refused("wanted at least"):
            quantizers.from_config(started(name).config()).fit(vectors(3))


def test_a_codebook_of_another_shape() -> None:
    book = make_codebook("gradient", 8, 4)
    with refused("codewords has shape (8, 5), wanted (8, 4)"):
        book.assign(torch.zeros(8, 5))
    with refused("NaN"):
        book.assign(torch.full((8, 4), torch.nan))
    with refused("wanted the name of a kind"):
        make_codebook({"decay": 0.9}, 8, 4)
    with pytest.raises(UnknownCodecError):
        make_codebook("gradeint", 8, 4)


@pytest.mark.parametrize(
    ("config", "pattern"),
    [
        ({"name": "vector", "dim": 0}, "dim is 0"),
        ({"name": "vector", "dim": 4, "codewords": 0}, "codewords is 0"),
        ({"name": "residual", "dim": 4, "stages": 0}, "stages is 0"),
        ({"name": "residual", "dim": 4, "stages": 3, "codewords": [4, 4]}, "codewords has 2 sizes, wanted one"),
        ({"name": "residual", "dim": 4, "dropout": 2.0}, "dropout is 2.0"),
        ({"name": "product", "dim": 6, "groups": 4}, "dim is 6, wanted a multiple of the 4 groups"),
        ({"name": "product", "dim": 6, "groups": 2, "rotation": "no"}, "rotation is 'no'"),
        ({"name": "finite", "levels": [8, 1]}, "levels is 1"),
        ({"name": "finite", "levels": [60000] * 5}, "use separate codes"),
        ({"name": "lookup-free", "dim": 63}, "dim is 63"),
        ({"name": "lattice", "dim": 6, "lattice": "D4"}, "dim is 6, wanted a multiple of 4 for D4"),
        ({"name": "lattice", "dim": 6, "lattice": "D5"}, "lattice is 'D5', wanted one of Z, D4, E8"),
        ({"name": "lattice", "dim": 4, "lattice": "D4", "scale": 0.0}, "scale is 0.0"),
        ({"name": "scalar", "dim": 2, "step": -1.0}, "step is -1.0"),
        ({"name": "scalar", "dim": 2, "rounding": 0.6}, "rounding is 0.6"),
        ({"name": "cascade", "side": 4, "channels": 2, "scales": [3, 1]}, "wanted falling divisors of the side 4"),
        ({"name": "cascade", "side": 4, "channels": 3, "groups": 2}, "channels is 3"),
    ],
)  # fmt: skip
def test_settings(config: dict[str, Any], pattern: str) -> None:
    with refused(pattern):
        quantizers.from_config(config)


def test_names() -> None:
    with pytest.raises(UnknownCodecError, match="residual"):
        quantizers.get("residul", dim=4)
    with pytest.raises(UsageError, match="name"):
        quantizers.from_config({"dim": 4})
    with refused("config names 'vector', which is not 'residual'"):
        type(started("residual")).from_config({"name": "vector", "dim": 4})


def test_large_values_are_no_infinities() -> None:
    """A sum that overflows is not an infinite value."""
    x = torch.full((4, 8), 3e38)
    quantizer = quantizers.get("finite", levels=[3] * 8)
    assert quantizer.decode(quantizer.encode(x)).tolist() == [[1.0] * 8] * 4
