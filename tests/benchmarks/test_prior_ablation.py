from __future__ import annotations

from siglum.benchmarks import prior_ablation


def test_the_table_gives_changes_and_their_mean() -> None:
    independent = [(0.1 * 2**i, 26.0 + 3 * i) for i in range(len(prior_ablation.LEVELS))]
    multivariate = [(0.96 * rate, ratio) for rate, ratio in independent]
    lines = prior_ablation.table(independent, multivariate)
    assert len(lines) == len(prior_ablation.LEVELS) + 3
    assert all(line.endswith("-4.00 %") for line in lines[1:])
