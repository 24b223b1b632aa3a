"""The prior of codes in floats, for training: `prior.Prior` runs the same networks in integers.

Every codeword has a short learned vector. A frame's vectors give a feature of the frame; the latest features and
running means of all give a context; the context and the vectors of the frame's earlier codes give the logits of the
next code, through as few dimensions as a codeword needs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from siglum.codecs.audio.presets import Preset


@dataclass(frozen=True)
class PriorShape:
    """Sizes of a prior.

    Attributes
    ----------
    codes
        Of a frame at all stages, S.
    words
        Codewords, K.
    embedding
        Numbers that stand for a codeword where it is seen.
    frame, context
        Features of a frame, and of the past.
    taps, averages
        Frames that the context sees, and shifts a of running means with decay ``1 - 2**-a`` that it sees besides.
    wide, hidden, rank
        Inside the context network; inside the network of a code; what the logits are linear in.
    window
        Earlier codes of the frame that a code sees, the latest ones; None: all.
    """

    codes: int
    groups: int
    words: int
    embedding: int = 24
    frame: int = 128
    taps: int = 3
    averages: tuple[int, ...] = field(default=(3,))
    wide: int = 192
    context: int = 96
    hidden: int = 96
    rank: int = 32
    window: int | None = None

    @property
    def stages(self) -> int:
        """Stages of all groups."""
        return self.codes // self.groups

    @property
    def past(self) -> int:
        """What the context sees of frames."""
        return self.frame * (self.taps + len(self.averages))

    def sees(self, code: int) -> range:
        """Earlier codes of the frame that a code's network sees."""
        return range(0 if self.window is None else max(0, code - self.window), code)


def shape_for(preset: Preset) -> PriorShape:
    """Sizes for a model: with many codes a frame, each sees the latest of them only."""
    few = preset.codes <= 16
    return PriorShape(
        preset.codes,
        preset.groups,
        preset.codewords,
        embedding=24 if few else 12,
        hidden=96 if few else 64,
        rank=32 if few else 24,
        window=None if few else 3 * preset.groups,
    )


class PriorNetwork(nn.Module):
    """Codes (B, T, S) and counts (B, T) -> costs in nats; chunks begin without any past.

    Parameters
    ----------
    shape
        Sizes.
    books
        Codewords (S, K, D): their principal components are what the networks begin with.
    """

    def __init__(self, shape: PriorShape, books: Tensor | None = None) -> None:
        super().__init__()
        self.shape = s = shape
        self.words = nn.Parameter(torch.randn(s.codes, s.words, s.embedding) * 0.5)
        self.frame = nn.Linear(s.codes * s.embedding + s.stages + 1, s.frame)
        self.count = nn.Linear(s.past, s.stages + 1)
        self.wide = nn.Linear(s.past + s.stages + 1, s.wide)
        self.context = nn.Linear(s.wide, s.context)
        widths = [s.context + len(s.sees(i)) * s.embedding for i in range(s.codes)]
        self.hidden = nn.ModuleList(nn.Linear(width, s.hidden) for width in widths)
        self.narrow = nn.ModuleList(nn.Linear(s.hidden, s.rank) for _ in widths)
        self.out = nn.ModuleList(nn.Linear(s.rank, s.words) for _ in widths)
        for layer in self.out:
            assert isinstance(layer, nn.Linear)
            nn.init.normal_(layer.weight, std=0.3)
            nn.init.zeros_(layer.bias)
        if books is not None:
            self._begin(books)

    @torch.no_grad()
    def _begin(self, books: Tensor) -> None:
        for i, book in enumerate(books.float()):
            centred = book - book.mean(0)
            axes = torch.linalg.svd(centred, full_matrices=False)[2]
            found = centred @ axes.T
            found = found / found[:, 0].std().clamp_min(1e-9)
            some = min(self.shape.embedding, found.shape[1])
            self.words[i, :, :some] = found[:, :some]
            layer = self.out[i]
            assert isinstance(layer, nn.Linear)
            some = min(self.shape.rank, found.shape[1])
            layer.weight[:, :some] = found[:, :some] * 0.5

    def features(self, codes: Tensor, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Vectors of the codes (B, T, S, e), zeros where there are none; the past and the context (B, T, ...)."""
        s = self.shape
        used = torch.arange(s.codes) // s.groups < counts[..., None]
        seen = torch.stack([self.words[i][codes[..., i]] for i in range(s.codes)], 2) * used[..., None]
        present = functional.one_hot(counts, s.stages + 1).float()
        frames = functional.relu(self.frame(torch.cat([seen.flatten(2), present], -1))).float()
        length = frames.shape[1]
        past = [functional.pad(frames, (0, 0, k, 0))[:, :length] for k in range(1, s.taps + 1)]
        lag = torch.arange(length)[:, None] - 1 - torch.arange(length)
        for shift in s.averages:
            part = 2.0**-shift
            past.append(torch.where(lag >= 0, part * (1 - part) ** lag.clamp_min(0), 0.0) @ frames)
        before = torch.cat(past, -1)
        wide = functional.relu(self.wide(torch.cat([before, present], -1)))
        return seen, before, functional.relu(self.context(wide))

    def latent(self, code: int, context: Tensor, seen: Tensor) -> Tensor:
        """What the logits of a code are linear in, of contexts (N, C) and vectors (N, S, e)."""
        own = seen[:, self.shape.sees(code).start : code].flatten(1)
        inside = functional.relu(self.hidden[code](torch.cat([context, own], -1)))
        result: Tensor = self.narrow[code](inside)
        return result

    def forward(self, codes: Tensor, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cost of all codes of each kind (S,) in nats, how many they are (S,), and the mean cost of a count."""
        s = self.shape
        seen, before, context = self.features(codes, counts)
        of_counts = functional.cross_entropy(self.count(before).flatten(0, 1).float(), counts.flatten())
        context, seen = context.flatten(0, 1), seen.flatten(0, 1)
        flat, number = codes.flatten(0, 1), counts.flatten()
        costs, many = [], []
        for i in range(s.codes):
            rows = torch.nonzero(number > i // s.groups)[:, 0]
            logits = self.out[i](self.latent(i, context[rows], seen[rows])).float()
            costs.append(functional.cross_entropy(logits, flat[rows, i], reduction="sum"))
            many.append(len(rows))
        return torch.stack(costs), torch.tensor(many), of_counts

    def bits(self, codes: Tensor, counts: Tensor) -> tuple[Tensor, Tensor, float]:
        """The same in bits, without gradients: (S,), (S,), and of a count."""
        with torch.no_grad():
            costs, many, of_counts = self(codes, counts)
        return costs / math.log(2), many, float(of_counts) / math.log(2)
