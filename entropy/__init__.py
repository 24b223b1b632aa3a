"""Probability models and coders: integer tables, the Gaussian bank, rANS. Nothing here imports torch."""

from siglum.entropy import rans
from siglum.entropy.gaussian import GAUSSIAN_SCALES, gaussian_tables, scale_index
from siglum.entropy.rans import Decoder, Encoder, choose_lanes
from siglum.entropy.tables import Tables

__all__ = [
    "GAUSSIAN_SCALES",
    "Decoder",
    "Encoder",
    "Tables",
    "choose_lanes",
    "gaussian_tables",
    "rans",
    "scale_index",
]
