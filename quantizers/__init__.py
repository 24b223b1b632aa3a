"""Quantizers: vectors <-> symbols. Scalar rounding with rate-distortion optimisation lives with its codec so far."""
