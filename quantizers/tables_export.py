"""From torch modules to plain tables: everything that makes a codeword is folded into it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from siglum.quantizers.cascade_tables import CascadeTables
from siglum.quantizers.chain_tables import ChainTables, Table
from siglum.quantizers.codebook import Codebook
from siglum.quantizers.level_tables import LevelTables

if TYPE_CHECKING:
    from siglum.quantizers.cascade import CascadeQuantizer
    from siglum.quantizers.staged import Staged


@torch.no_grad()
def table_of(book: Codebook) -> Table:
    """A codebook as arrays. What it searches for must be linear in x, which is measured with unit vectors."""
    values, bias = book.vectors(), book.bias()
    keys, project = book.keys(), book.project(torch.eye(book.dim, device=values.device))
    same = keys.shape == values.shape and bool(torch.equal(keys, values))
    if same and torch.equal(project, torch.eye(book.dim, device=values.device)):
        return Table(_array(values), bias=None if bias is None else _array(bias))
    return Table(_array(values), _array(keys), _array(project), None if bias is None else _array(bias))


@torch.no_grad()
def export_staged(quantizer: Staged) -> ChainTables:
    """Tables of chains of codebooks."""
    rotation = quantizer.rotation
    return ChainTables(
        quantizer.width,
        [table_of(book) for book in quantizer.codebooks],
        range(quantizer.stages),
        chains=quantizer.step,
        rotation=None if rotation is None else rotation.matrix().cpu().numpy(),
        centre=None if rotation is None else _array(rotation.centre),
        sweeps=getattr(quantizer, "sweeps", 0),
    )


def export_blocks(codewords: Tensor, blocks: int) -> ChainTables:
    """Tables of one codebook (K, d) that is used for every block of d components."""
    return ChainTables(codewords.shape[1], [_array(codewords)], [0] * blocks, chains=blocks)


def export_levels(
    thresholds: Sequence[Tensor], values: Sequence[Tensor], separate: bool, upper: bool = True
) -> LevelTables:
    """Tables of thresholds and values of each component."""
    edges = [_array(each) for each in thresholds]
    return LevelTables(edges, [_array(each) for each in values], separate=separate, upper=upper)


@torch.no_grad()
def export_cascade(quantizer: CascadeQuantizer) -> CascadeTables:
    """Tables of all scales of a cascade."""
    levels = range(len(quantizer.scales))
    tables = [table_of(book) for level in levels for book in quantizer.codebooks(level)]
    return CascadeTables(quantizer.side, quantizer.scales, quantizer.groups, tables)


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(tensor.detach().float().cpu().numpy())
