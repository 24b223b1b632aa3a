"""Probability models and coders: integer tables, the Gaussian bank, rANS. Nothing here imports torch."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from siglum.entropy import rans
from siglum.entropy.coders import CODERS, Coder
from siglum.entropy.gaussian import GAUSSIAN_SCALES, gaussian_tables, scale_index
from siglum.entropy.models import MODELS, Model
from siglum.entropy.rans import Decoder, Encoder, choose_lanes
from siglum.entropy.tables import Tables

__all__ = [
    "CODERS",
    "GAUSSIAN_SCALES",
    "MODELS",
    "Adaptive",
    "Categorical",
    "CodebookGaussian",
    "Coder",
    "Decoder",
    "Encoder",
    "Gaussian",
    "GaussianMixture",
    "Model",
    "MultivariateGaussian",
    "Tables",
    "choose_lanes",
    "gaussian_tables",
    "rans",
    "scale_index",
]

if TYPE_CHECKING:
    from siglum.entropy.adaptive import Adaptive
    from siglum.entropy.categorical import Categorical
    from siglum.entropy.codebook import CodebookGaussian
    from siglum.entropy.gaussian_model import Gaussian
    from siglum.entropy.mixture import GaussianMixture
    from siglum.entropy.multivariate import MultivariateGaussian

_MODELS = {
    "Adaptive": "adaptive",
    "Categorical": "categorical",
    "CodebookGaussian": "codebook",
    "Gaussian": "gaussian_model",
    "GaussianMixture": "mixture",
    "MultivariateGaussian": "multivariate",
}


def __getattr__(name: str) -> Any:
    """Import a model when it is first used."""
    if name in _MODELS:
        return getattr(import_module(f"{__name__}.{_MODELS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
