"""Numbers that several parts of the image codec share; changing one changes the format or needs a new model."""

PATCH = 16  # pixels on a side that one latent position stands for
HYPER_FACTOR = 4  # latent positions on a side that one hyperlatent position stands for
LEVELS = 256  # quality levels that a file can name
ANCHOR_STEP = 32  # levels between two anchors of what is learned for each quality
ANCHORS = LEVELS // ANCHOR_STEP + 1
LAMBDA_LOW, LAMBDA_HIGH = (
    0.0006,
    0.35,
)  # weights of the squared error (of 0..255 samples) at the outer anchors
SCALES = 64  # tables of the Gaussian bank
# The positions (row, column) of a 2x2 block of latents in the order of coding.
PHASES = ((0, 0), (1, 1), (0, 1), (1, 0))
# Of each phase, where the neighbours are that it leans on: all of earlier phases.
_DIAGONAL = ((-1, -1), (-1, 1), (1, -1), (1, 1))
_DIRECT = ((0, -1), (0, 1), (-1, 0), (1, 0))
NEIGHBOURS = ((), _DIAGONAL, _DIRECT, _DIRECT)


def group_bounds(latent: int) -> list[int]:
    """Where the groups of channels begin, and where the last one ends: 1/12, 1/6, 1/4 and 1/2 of the channels."""
    sizes = latent // 12, latent // 6, latent // 4
    return [0, sizes[0], sum(sizes[:2]), sum(sizes), latent]
