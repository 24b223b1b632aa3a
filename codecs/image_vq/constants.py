"""Numbers that several parts of the codec share; changing one changes the format or needs a new model."""

SIDE = 2  # latent positions on a side of a block: a vector is one channel's 2 x 2 neighbours
DIMENSION = SIDE * SIDE
COARSE, FINE = 0, 1  # the stages
CLASSES = (21, 14, 8)
"""Classes of vectors: the least table index of the widest component of each.

A vector below the last class is not coded: its residual is zero.
"""
WORDS = (128, 256, 64)  # codewords of each class at the fine stage
SKIPPED = len(CLASSES)  # the class of vectors that are not coded
REFINED = 0  # the class that has a coarse stage; the others have the fine one alone
COARSE_FACTOR = 4  # steps of the fine lattice in one of the coarse
COARSE_TABLES = 12  # tables of the Gaussian bank for one step of the coarse lattice, in scale
SCALES = 64  # table indices that the prior predicts, and scales of a Gaussian over a codebook
GRID = 1 / 400  # of codewords, in steps of the latents
LATTICE_UNIT = 328  # of the fine lattice, in units of the grid
REFINING = 2  # units of the grid in one of the fine lattice's codewords
