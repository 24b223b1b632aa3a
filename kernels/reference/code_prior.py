"""NumPy oracle of the prior of codes: frequencies of every symbol of a chunk, in the order of decoding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglum.entropy.codebook_fit import exponentials
from siglum.entropy.integer_network import IntegerNetwork
from siglum.kernels.reference.codebook import exponential, shares

PRECISION = 15
LOGIT_UNIT = 16  # of the exponentials' units, 1/4096 bit
PRESENT = 127 * 16

Symbol = tuple[NDArray[np.int64], int]
"""Frequencies of a table, and the entry that is coded."""


def run(network: IntegerNetwork, values: NDArray[Any]) -> NDArray[np.int64]:
    """One position through a network."""
    return network.reference(values.astype(np.int16)[None, None])[0, 0].astype(np.int64)


def table(logits: NDArray[np.int64]) -> NDArray[np.int64]:
    """Weights of logits in 1/256 bit: 2**16 for the largest."""
    return exponential((logits.max() - logits) * LOGIT_UNIT, exponentials())


def symbols(
    words: NDArray[np.int8],
    networks: Sequence[IntegerNetwork],
    groups: int,
    taps: int,
    averages: Sequence[int],
    sees: Sequence[Sequence[int]],
    codes: NDArray[np.integer[Any]],
    counts: Sequence[int],
) -> Iterator[Symbol]:
    """The mode; and of each frame its count, where they differ, then cell and member of every code.

    Parameters
    ----------
    words
        (S, K, e).
    networks
        Of a frame, of a count, of the past, and one a code.
    codes
        (T, S).
    counts
        Stages that each frame uses.
    """
    if not len(codes):
        return
    stages = len(words) // groups
    members = 16 if words.shape[1] <= 512 else 32
    constant = len({int(count) for count in counts}) == 1
    yield shares(table(np.zeros(stages + 2, np.int64)), PRECISION), int(counts[0]) if constant else stages + 1
    past = [np.zeros(networks[0].out_channels, np.int64) for _ in range(taps)]
    means = [np.zeros(networks[0].out_channels, np.int64) for _ in averages]
    for frame, count in zip(codes, counts, strict=True):
        before = np.concatenate([*past, *((mean + 128) >> 8 for mean in means)])
        if not constant:
            yield shares(table(run(networks[1], before)), PRECISION), int(count)
        present = np.zeros(stages + 1, np.int64)
        present[count] = PRESENT
        seen = np.zeros((len(words), words.shape[2]), np.int64)
        if count:
            context = run(networks[2], np.concatenate([before, present]))
        for i in range(count * groups):
            logits = run(networks[3 + i], np.concatenate([context, *(seen[j] for j in sees[i])]))
            cell, member = divmod(int(frame[i]), members)
            yield shares(table(logits).reshape(-1, members).sum(1), PRECISION), cell
            yield shares(table(logits.reshape(-1, members)[cell]), PRECISION), member
            seen[i] = words[i, frame[i]].astype(np.int64) * 16
        newest = run(networks[0], np.concatenate([seen.ravel(), present]))
        past = [newest, *past[:-1]]
        means = [mean + ((newest * 256 - mean) >> shift) for mean, shift in zip(means, averages, strict=True)]
