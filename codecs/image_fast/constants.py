"""Numbers that several parts of the image-fast codec share; changing one changes the format or needs a new model."""

PATCH = 16  # pixels on a side of a patch
INPUTS = 3 * PATCH * PATCH  # samples of a patch
LEVELS = 256  # quality levels that a file can name
ANCHOR_STEP = 32  # levels between two anchors of what is learned for each quality
ANCHORS = LEVELS // ANCHOR_STEP + 1

GROUPS = (8, 24, 32, 64, 64)  # channels of each group; a group's tables follow from the groups before it
CHANNELS = sum(GROUPS)
# Phases of the first two groups: classes of positions that are coded one after another, by (row % 2, column % 2).
PHASES: tuple[tuple[tuple[tuple[int, int], ...], ...], ...] = (
    (((0, 0),), ((1, 1),), ((0, 1), (1, 0))),
    (((0, 0), (1, 1)), ((0, 1), (1, 0))),
)
WIDTHS = (32, 48, 64, 64, 64)  # hidden channels of the networks of each group

MAGNITUDE_UNIT = 32  # of log2(1 + |symbol|) in the contexts
MAGNITUDE_CAP = 255  # symbols beyond look the same to the contexts
MEAN_SHIFT = 7  # weights of the mean of the first group are in 1/128
