from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from siglum.benchmarks import audio_quantizers

torch = pytest.importorskip("torch")
from siglum.benchmarks import audio_structures as structures  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Noise:
    """Segments of noise for `Arm`, in place of recordings."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(0)

    def batch(self, count: int) -> Any:
        return self.random.normal(0, 0.1, (count, 16 * 320)).astype(np.float32)


@pytest.mark.parametrize("name", audio_quantizers.STRUCTURES)
def test_all_structures_have_the_same_codes(name: str) -> None:
    preset = replace(structures.SMALL, codewords=16)
    quantizer = structures.quantizer(name, preset)
    assert quantizer.sizes == (16,) * 12
    x = torch.randn(400, 96, generator=torch.Generator().manual_seed(0))
    quantizer.start(x)
    codes = quantizer.encode(x[:7])
    assert codes.shape == (7, 12)
    assert torch.equal(quantizer.decode(quantizer.encode(x[:7], stages=4)), quantizer.decode(codes[:, :4]))
    quantizer.counts = torch.tensor([0, 1, 2, 3, 4, 5, 6])
    wanted = torch.arange(12)[None] // 2 < quantizer.counts[:, None]
    assert torch.equal(quantizer._dropped(7, 1, x.device), wanted)
    with pytest.raises(ValueError, match="wanted grvq, rvq or parallel"):
        structures.quantizer("none")


def test_a_run_goes_on_with_what_it_would_have_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {
        "codewords": 4,
        "latent": 96,
        "encoder_width": 8,
        "decoder_width": 8,
        "encoder_blocks": 2,
        "decoder_blocks": 2,
    }
    monkeypatch.setattr(structures, "SMALL", replace(structures.SMALL, **sizes))
    monkeypatch.setattr(structures, "START_BATCHES", 2)
    plan = structures.Plan("rvq", steps=6, batch=2, frames=16, warmup_steps=2)
    lines: list[str] = []

    def arm(plan: structures.Plan, folder: str) -> structures.Arm:
        return structures.Arm(plan, Noise(), tmp_path / folder, lines.append)  # type: ignore[arg-type]

    before = arm(structures.shared(plan), "none")
    before.run()
    assert before.step == 3 and not before.model.quantised
    whole = arm(plan, "whole")
    whole.resume(before.out)
    assert whole.step == 3
    whole.run()
    monkeypatch.setattr(structures, "SAVE_EVERY", 5)
    halved = arm(plan, "halved")
    halved.resume(before.out)
    train = halved._train

    def until_five() -> float:
        if halved.step == 5:
            raise InterruptedError
        return train()

    monkeypatch.setattr(halved, "_train", until_five)
    with pytest.raises(InterruptedError):
        halved.run()
    again = arm(plan, "halved")
    again.resume(before.out)
    assert again.step == 5 and again.model.quantised
    again.run()
    for one, other in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)
    model = again.finished()
    with torch.no_grad():
        assert torch.equal(
            model.quantizer.codebooks[0].vectors(), again.model.quantizer.codebooks[0].vectors()
        )
    counted = structures.usage(model, Noise(), 100)  # type: ignore[arg-type]
    assert counted["frames"] >= 100 and len(counted["used"]) == 12 and max(counted["perplexity"]) <= 4
    with pytest.raises(ValueError, match="of another plan"):
        arm(replace(plan, seed=2), "whole").resume()


def test_the_table_has_means_and_intervals() -> None:
    def result(gain: float) -> dict[str, Any]:
        random = np.random.default_rng(0)
        values = {
            name: [(random.random(5) + gain).tolist() for _ in range(2)] for name in ("pesq", "stoi", "mel")
        }
        usage = {"used": [1.0] * 11 + [0.5], "perplexity": [100.0] * 12}
        return {**values, "layers": [1, 6], "kbps": [1.0, 6.0], "usage": usage}

    results = {(name, seed): result(gain) for seed in (1, 2) for name, gain in (("grvq", 0.5), ("rvq", 0.25))}
    lines = audio_quantizers.table(results)
    assert lines[1].split()[:2] == ["grvq", "1.0"] and "100.0 %" in lines[1] and "50.0 %" in lines[3]
    assert "+0.250 (+0.250 to +0.250)" in lines[-1]


@pytest.mark.parametrize("given", [["--steps", "5"], ["--layers", "7"], ["--structures", "lattice"], []])
def test_settings_are_checked(given: list[str]) -> None:
    needed = ["--data", "x", "--out", "y", "--held-out", "z"] if given else []
    with pytest.raises(SystemExit):
        audio_quantizers.main([*needed, *given])
