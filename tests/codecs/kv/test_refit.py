"""Calibrations that are given the transforms of other caches, and what a file says of its cache's own mean."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from siglum import errors, kv
from siglum.cli.main import main
from siglum.codecs.kv import plan, planning
from siglum.codecs.kv.cache import KVCache
from siglum.codecs.kv.calibration import Calibration
from siglum.codecs.kv.coding import Components
from siglum.codecs.kv.decoding import Decoder
from siglum.codecs.kv.refit import refit
from siglum.codecs.kv.rows import floats_of


def left_of_the_mean(cache: KVCache, decoded: KVCache, calibration: Calibration) -> float:
    """Squared mean error of values in the weighted domain, over the groups."""
    total = 0.0
    for group in range(len(calibration.layout.groups)):
        rows = [floats_of(it, calibration.layout, group, 1, 4, it.tokens, 0) for it in (cache, decoded)]
        mean = (rows[0] - rows[1]).mean(axis=0)[None]
        total += float(np.square(calibration.transforms[group, 1].weighted(mean)).sum())
    return total


def test_what_coding_leaves_of_the_mean_is_sent(
    make, moved, calibration: Calibration, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = moved(make(400, seed=9), 0.5)
    with_it = kv.compress(cache, quality=20, calibration=calibration)
    found = Decoder(io.BytesIO(with_it), calibration).plan
    assert any(isinstance(part, Components) and part.residue is not None for part in found.values())
    plain = planning.plan_of
    monkeypatch.setattr(planning, "plan_of", lambda *given, **_: plain(*given, centred=False))
    without = kv.compress(cache, quality=20, calibration=calibration)
    left = [
        left_of_the_mean(cache, kv.decompress(data, calibration=calibration), calibration)
        for data in (with_it, without)
    ]
    assert left[0] < 0.3 * left[1]


def test_tables_there_and_back(make, moved, calibration: Calibration) -> None:
    cache = moved(make(400, seed=9), 0.5)
    data = kv.compress(cache, quality=30, calibration=calibration)
    decoder = Decoder(io.BytesIO(data), calibration)
    level = next(iter(decoder.plan.values())).level
    packed = plan.pack(decoder.plan, decoder.layout, calibrated=True)
    again = plan.unpack(packed, decoder.layout, level, calibration)
    for key, part in decoder.plan.items():
        for name in ("scale", "shift", "residue"):
            one, other = getattr(part, name), getattr(again[key], name)
            assert (one is None) == (other is None) and (one is None or np.array_equal(one, other))
        assert np.array_equal(part.centre, again[key].centre)
    with pytest.raises(errors.BitstreamError):
        plan.unpack(packed[:-3], decoder.layout, level, calibration)


def test_a_fixed_rate_sends_none(make, moved, calibration: Calibration) -> None:
    cache = moved(make(400, seed=9), 0.5)
    data = kv.compress(cache, bits=2.0, calibration=calibration)
    found = Decoder(io.BytesIO(data), calibration).plan
    assert all(part.components.residue is None for part in found.values())


def test_other_caches_make_other_transforms(make, moved, calibration: Calibration) -> None:
    seen = []
    made = refit(calibration, (moved(make(300, seed=seed), 1.0) for seed in (11, 12)), seen.append)
    assert seen == [1, 2]
    for key, part in calibration.transforms.items():
        assert np.array_equal(part.weight, made.transforms[key].weight)
    rounded = Calibration.from_tensors(made.tensors())
    cache = moved(make(400, seed=13), 1.0)
    sizes = [len(kv.compress(cache, quality=60, calibration=one)) for one in (rounded, calibration)]
    assert sizes[0] < 0.9 * sizes[1]


def test_caches_that_do_not_fit(make, calibration: Calibration) -> None:
    with pytest.raises(errors.UnsupportedInputError, match="layers"):
        refit(calibration, [make(50, layers=2)])
    with pytest.raises(errors.UnsupportedInputError, match="no tokens"):
        refit(calibration, [make(3)])


def test_the_command(make, moved, calibration: Calibration, tmp_path: Path) -> None:
    calibration.save(tmp_path / "old.kvcal.safetensors", {"name": "old", "licence": "Apache-2.0"})
    (tmp_path / "caches").mkdir()
    for seed in (11, 12):
        kv.write_cache(moved(make(200, seed=seed), 1.0), tmp_path / "caches" / f"{seed}.safetensors")
    out = tmp_path / "new.kvcal.safetensors"
    command = [
        "kv",
        "refit",
        str(tmp_path / "old.kvcal.safetensors"),
        str(tmp_path / "caches"),
        "-o",
        str(out),
    ]
    result = CliRunner().invoke(main, [*command, "--models", "Synthetic-1"])
    assert result.exit_code == 0, result.output
    card = json.loads(out.with_suffix(".json").read_text())
    assert card["documents"] == 2 and card["models"] == ["Synthetic-1"] and card["name"] == "new"
    data = kv.compress(make(300), quality=50, calibration=out)
    assert kv.decompress(data, calibration=out).tokens == 300
    again = CliRunner().invoke(main, command)
    assert again.exit_code != 0 and "-f overwrites" in f"{again.output}{again.exception}"
    (tmp_path / "none").mkdir()
    nothing = CliRunner().invoke(
        main, [*command[:3], str(tmp_path / "none"), "-o", str(tmp_path / "x.safetensors")]
    )
    assert nothing.exit_code != 0 and "no .safetensors" in f"{nothing.output}{nothing.exception}"
