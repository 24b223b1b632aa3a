import doctest
from pathlib import Path


def test_the_examples_in_the_documentation() -> None:
    path = Path(__file__).parents[2] / "docs" / "entropy-models.md"
    result = doctest.testfile(str(path), module_relative=False)
    assert result.attempted > 20
    assert result.failed == 0
