import doctest
from pathlib import Path

import pytest

pytest.importorskip("torch")


def test_the_examples_in_the_documentation() -> None:
    path = Path(__file__).parents[2] / "docs" / "codebooks.md"
    result = doctest.testfile(str(path), module_relative=False)
    assert result.attempted > 10
    assert result.failed == 0


@pytest.mark.parametrize("name", ["estimators", "priors.context", "priors.frequency"])
def test_the_examples_in_docstrings(name: str) -> None:
    module = __import__(f"siglum.quantizers.{name}", fromlist=["_"])
    finder = doctest.DocTestFinder()
    globs = {"torch": pytest.importorskip("torch")}
    runner = doctest.DocTestRunner()
    for test in finder.find(module, extraglobs=globs):
        runner.run(test)
    assert runner.summarize(verbose=False).attempted > 1
    assert runner.summarize(verbose=False).failed == 0
