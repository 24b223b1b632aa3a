"""Numbers that encoder, decoder and training of the audio codec share."""

from __future__ import annotations

HOPS = 2  # of the short-time Fourier transform in a frame
TAPS = 7  # frames that a block's filter spans
LEVEL = 0.07  # root mean square to which sound is brought before it is coded
MAGNITUDE_FLOOR = 1e-5
COMPRESSION = 0.3  # exponent of the magnitudes that the encoder sees
LOUDEST = 6.0  # natural logarithm of the largest magnitude that the decoder gives
LOW = 24  # coefficients of the linear branch: the lowest of a modified cosine transform of a frame
LOW_SCALE = 8.0  # what the linear branch begins with, in latents a unit of the transform
SKIP = 40  # principal components of log spectra that go into the latents by one matrix
SKIP_ENERGY = 250.0  # their mean square in all, when training begins
NOISE_GAIN = 1.4  # random windows overlap with less power than waves do
NOISE_REACH = 6  # bins to either side over which power is evened out there
NOISE_ROWS = 256  # frames of random directions
