from siglum.benchmarks import entropy_models


def test_every_line_is_measured() -> None:
    lines = entropy_models.results(4096, 1)
    assert len(lines) > 20
    for line in lines:
        assert line.encode > 0
        assert line.decode > 0
        assert abs(8 * line.size - line.bits) < 0.02 * line.bits + 31 * 32
