"""Numbers that several parts of the codec share; changing one changes the format or needs a new model."""

SIDE = 2  # latent positions on a side of a block: a vector is one channel's 2 x 2 neighbours
DIMENSION = SIDE * SIDE
COARSE, FINE = 0, 1  # the stages
CLASSES = ((21, COARSE), (14, FINE), (3, FINE))
"""Classes of vectors: the least table index of its widest component, and the first of its stages.

A vector below the last class is not coded: its residual is zero.
"""
SKIPPED = len(CLASSES)  # the class of vectors that are not coded
REFINED = 0  # the class that has a coarse stage
COARSE_STEP = 4  # of the lattice of the coarse stage, in steps of the latents
COARSE_TABLES = 14  # tables of the Gaussian bank for a factor of COARSE_STEP in scale
SCALES = 64  # table indices that the prior predicts, and scales of a Gaussian over a codebook
GRID = 1 / 400  # of codewords, in steps of the latents
"""The finest unit of codewords, in steps; `REFINING` of them are the unit of those that refine."""
REFINING = 2
