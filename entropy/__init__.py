"""Probability models and coders: integer tables, the Gaussian bank, rANS. Nothing here imports torch."""

from siglum.entropy import rans
from siglum.entropy.coders import CODERS, Coder
from siglum.entropy.gaussian import GAUSSIAN_SCALES, gaussian_tables, scale_index
from siglum.entropy.rans import Decoder, Encoder, choose_lanes
from siglum.entropy.tables import Tables

__all__ = [
    "CODERS",
    "GAUSSIAN_SCALES",
    "Coder",
    "Decoder",
    "Encoder",
    "Tables",
    "choose_lanes",
    "gaussian_tables",
    "rans",
    "scale_index",
]
