import importlib.util

import pytest
from click.testing import CliRunner

from siglum.benchmarks import gpu_rans


def test_without_a_gpu_it_says_so():
    if importlib.util.find_spec("triton") is None:
        expected = "triton is not installed"
    else:
        import torch

        if torch.cuda.is_available():
            pytest.skip("there is a GPU here")
        expected = "there is no GPU here"
    result = CliRunner().invoke(gpu_rans.main, [])
    assert result.exit_code == 1
    assert expected in result.output
