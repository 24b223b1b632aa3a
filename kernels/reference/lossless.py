"""Lossless strip model in plain Python: the oracle of the compiled kernel, symbol for symbol; slow.

`record` gives the symbols and table indexes that the encoder codes; `play` rebuilds the pixels from any
source of symbols. docs/lossless.md describes the model.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

PLAIN, GREEN, YCOCG = 0, 1, 2

_SCALES = 64
_WEIGHTS = [(1 << 24) // ((i + 4) * (i + 4)) for i in range(1024)]
_RATES = [5 * 65536 // (5 * i + 8) for i in range(65)]
# fmt: off
_LOG2 = [  # of 1 + (i + 1/2) / 64, in 1/256
    3, 9, 14, 20, 25, 30, 36, 41, 46, 51, 56, 61, 66, 71, 75, 80, 85, 89, 94, 98, 103, 107, 111,
    116, 120, 124, 128, 132, 136, 140, 144, 148, 152, 155, 159, 163, 167, 170, 174, 178, 181, 185,
    188, 192, 195, 198, 202, 205, 208, 212, 215, 218, 221, 224, 228, 231, 234, 237, 240, 243, 246,
    249, 252, 255,
]
# fmt: on

Code = Callable[[int, int], int]
"""(table index, symbol or 0) -> symbol: the recorder returns what it is given, the player what it reads."""


def record(
    pixels: NDArray[np.uint8], colour: int, match: bool
) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Symbols of a strip and the tables that the model chooses for them.

    Parameters
    ----------
    pixels : uint8 array, shape (height, width, channels)
    colour : int
        Colour transform: `PLAIN`, `GREEN` or `YCOCG`.
    match : bool
        Whether whole colours are guessed first.

    Returns
    -------
    symbols : int32 array, shape (n,)
    indexes : uint8 array, shape (n,)
    """
    symbols: list[int] = []
    indexes: list[int] = []

    def code(index: int, symbol: int) -> int:
        indexes.append(index)
        symbols.append(symbol)
        return symbol

    _run(code, pixels, pixels.shape, colour, match)
    return np.array(symbols, dtype=np.int32), np.array(indexes, dtype=np.uint8)


def play(
    read: Callable[[int], int], shape: tuple[int, int, int], colour: int, match: bool
) -> NDArray[np.uint8]:
    """Pixels of a strip from its symbols; `read` takes a table index and gives the next symbol."""
    return _run(lambda index, _: read(index), None, shape, colour, match)


def _run(
    code: Code, source: NDArray[np.uint8] | None, shape: tuple[int, ...], colour: int, match: bool
) -> NDArray[np.uint8]:
    height, width, count = shape
    result = np.empty((height, width, count), dtype=np.uint8)
    channels = [
        _Channel(width, -256 if colour and c in (1, 2) else 0, 9 if colour and c in (1, 2) else 8)
        for c in range(count)
    ]
    matcher = _Matcher(width, height * width)
    for y in range(height):
        for channel in channels:
            channel.begin_row(y)
        for x in range(width):
            pixel = [0] * count if source is None else [int(v) for v in source[y, x]]
            packed = sum(v << (8 * c) for c, v in enumerate(pixel))
            guess = matcher.code(code, x, None if source is None else packed) if match else None
            if guess is not None:
                pixel = [guess >> (8 * c) & 255 for c in range(count)]
                for channel, value in zip(channels, _forward(colour, pixel), strict=True):
                    channel.skip(x, value)
            else:
                values = _forward(colour, pixel)
                for c, channel in enumerate(channels):
                    earlier = [k.rows[0][x + _BORDER] for k in channels[:c]] if count >= 3 and c < 3 else []
                    values[c] = channel.code(code, x, values[c], earlier)
                pixel = _inverse(colour, values)
            if match:
                matcher.learn(x, sum(v << (8 * c) for c, v in enumerate(pixel)), guess is not None)
            result[y, x] = pixel
        for channel in channels:
            channel.end_row()
        matcher.end_row()
    return result


def _forward(colour: int, pixel: list[int]) -> list[int]:
    if colour == PLAIN:
        return list(pixel)
    r, g, b = pixel[:3]
    if colour == GREEN:
        return [g, r - g, b - g, *pixel[3:]]
    t = b + (r - b >> 1)
    return [t + (g - t >> 1), r - b, g - t, *pixel[3:]]


def _inverse(colour: int, values: list[int]) -> list[int]:
    if colour == PLAIN:
        pixel = list(values)
    elif colour == GREEN:
        pixel = [values[1] + values[0], values[0], values[2] + values[0], *values[3:]]
    else:
        t = values[0] - (values[2] >> 1)
        b = t - (values[1] >> 1)
        pixel = [b + values[1], values[2] + t, b, *values[3:]]
    return [v & 255 for v in pixel]


def _level(value: int, fraction: int, limit: int) -> int:
    octave = (value + 1).bit_length() - 1
    return min(octave << fraction | (value + 1 << fraction >> octave) & ((1 << fraction) - 1), limit)


def _clamp(value: int, low: int, high: int) -> int:
    return max(low, min(high, value))


_BORDER = 2


class _Sample:
    def __init__(self, value: int = 0) -> None:
        self.value = value
        self.error = 0
        self.size = 0
        self.errors = [0] * 5


class _Mean:
    def __init__(self) -> None:
        self.value = 2048
        self.count = 0

    def learn(self, size: int) -> None:
        self.value += (size * 256 - self.value) * _RATES[self.count] >> 16
        self.count = min(self.count + 1, 64)


class _Channel:
    def __init__(self, width: int, low: int, bits: int) -> None:
        self.width, self.low, self.high, self.bits = width, low, low + (1 << bits) - 1, bits
        self.rows = [[_Sample() for _ in range(width + 2 * _BORDER)] for _ in range(3)]
        self.lms = [[0] * 12 for _ in range(8)]
        self.means: tuple[dict[tuple[int, ...], _Mean], ...] = ({}, {}, {})

    def begin_row(self, y: int) -> None:
        self.y = y
        self.rows[0] = [self.rows[1][_BORDER]] * _BORDER + [_Sample() for _ in range(self.width + _BORDER)]

    def end_row(self) -> None:
        self.rows[0][_BORDER + self.width :] = [self.rows[0][_BORDER + self.width - 1]] * _BORDER
        self.rows = [self.rows[2], self.rows[0], self.rows[1]]

    def skip(self, x: int, value: int) -> None:
        self.rows[0][_BORDER + x] = _Sample(value)

    def code(self, code: Code, x: int, value: int, earlier: list[_Sample]) -> int:
        i = _BORDER + x
        here, above, top = self.rows
        at_w, at_ww, at_n, at_nw, at_ne, at_nn = (
            here[i - 1],
            here[i - 2],
            above[i],
            above[i - 1],
            above[i + 1],
            top[i],
        )
        w, ww, n, nw, ne, nn, nne = (s.value for s in (at_w, at_ww, at_n, at_nw, at_ne, at_nn, top[i + 1]))
        if self.y == 0:
            n = nw = ne = nn = nne = w
        elif self.y == 1:
            nn, nne = n, ne
        predictions = [
            8 * (w + ne - n),
            8 * n + 2 * (n - nn) + 2 * (ne - nne),
            8 * w + 4 * (n - nw) + 2 * (w - ww),
            8 * _clamp(w + n - nw, min(w, n), max(w, n)),
            4 * (w + n),
        ]

        local = [
            2 * at_w.errors[k] + 2 * at_n.errors[k] + at_nw.errors[k] + at_ne.errors[k] + at_ww.errors[k]
            for k in range(5)
        ]
        weights = [_WEIGHTS[min(e >> 2, 1023)] for e in local]
        excess = max(sum(weights).bit_length() - 10, 0)
        weights = [weight >> excess for weight in weights]
        total = sum(weights)
        blended = sum(weight * p for weight, p in zip(weights, predictions, strict=True))
        blend = blended * (((1 << 22) + total // 2) // total) + (1 << 21) >> 22

        near = at_w.size + at_n.size
        energy = 2 * near + at_nw.size + at_ne.size + at_ww.size + at_nn.size
        cross = [s.error for s in earlier]
        taps = [
            at_w.error,
            at_n.error,
            at_ne.error,
            at_nw.error,
            at_ww.error,
            *cross,
            *[0] * (2 - len(cross)),
        ]
        taps += [_clamp(p - blend, -4095, 4095) for p in predictions]
        lms = self.lms[min(((energy + 1).bit_length() - 1) >> 1, 7)]
        correction = sum(a * b for a, b in zip(taps, lms, strict=True)) >> 14
        prediction = _clamp(blend + correction, 8 * self.low, 8 * self.high)

        gradient = abs(w - nw) + abs(n - nw) + abs(n - ne)
        spread = max(predictions) - min(predictions)
        sizes = (2 * sum(s.size for s in earlier) // len(earlier)) if earlier else 0
        keys = (
            (_level(energy >> 2, 1, 31), _level(sizes >> 2, 0, 7)),
            (_level(gradient, 1, 15), _level(spread, 1, 31)),
            (_level(energy >> 2, 0, 15), _level(near, 0, 15), _level(spread >> 1, 0, 7)),
        )
        means = [table.setdefault(key, _Mean()) for table, key in zip(self.means, keys, strict=True)]
        mean = 2 * means[0].value + means[1].value + means[2].value >> 2

        rounded = prediction + 4 >> 3
        half, mask = 1 << self.bits - 1, (1 << self.bits) - 1
        symbol = code(_scale(mean), (value - rounded + half & mask) - half)
        value = self.low + (rounded - self.low + symbol & mask)

        sample = _Sample(value)
        sample.errors = [min(abs(8 * value - p), 8191) for p in predictions]
        sample.error = 8 * value - prediction
        sample.size = abs(sample.error)
        here[i] = sample
        for m in means:
            m.learn(sample.size)
        power = 64 + sum(t * t for t in taps)
        step = _clamp(sample.error * 65536 >> power.bit_length() - 1, -32767, 32767)
        lms[:] = [_clamp(a + (step * t + 256 >> 9), -32767, 32767) for a, t in zip(lms, taps, strict=True)]
        return value


def _scale(mean: int) -> int:
    mean = max(mean, 1)
    octave = mean.bit_length() - 1
    fraction = (mean >> octave - 6 if octave >= 6 else mean << 6 - octave) & 63
    return _clamp((octave * 256 + _LOG2[fraction] - 1990) * 1756 + 32768 >> 16, 0, _SCALES - 1)


def _miss_levels() -> list[int]:
    rising = [1]
    while len(rising) < 33:
        rising.append(rising[-1] + max(1, rising[-1] // 4))
    frequencies = [*rising, 2048, *(4095 - f for f in reversed(rising))]
    levels, level = [], 0
    for chance in range(4096):
        while level < 66 and 2 * chance >= frequencies[level] + frequencies[level + 1]:
            level += 1
        levels.append(level)
    return levels


_MISS_LEVEL = _miss_levels()


class _Slot:
    def __init__(self) -> None:
        self.colours: list[int] = []  # at most two
        self.run = 0

    def learn(self, colour: int) -> None:
        if self.colours[:1] == [colour]:
            self.run = min(self.run + 1, 255)
        elif self.run >= 4:
            self.colours = [self.colours[0], colour]
            self.run >>= 1
        else:
            self.colours = [colour, *self.colours[:1]]
            self.run = 0


class _Matcher:
    def __init__(self, width: int, pixels: int) -> None:
        self.width = width
        self.bits = max(8, min(16, (pixels - 1).bit_length()))
        self.wide: dict[int, _Slot] = {}
        self.narrow: dict[int, _Slot] = {}
        self.chances: dict[tuple[int, ...], list[int]] = {}
        self.rows = [[(0, 0)] * (width + 2 * _BORDER) for _ in range(3)]  # (colour, missed)

    def end_row(self) -> None:
        self.rows = [self.rows[2], self.rows[0], self.rows[1]]

    def code(self, code: Code, x: int, colour: int | None) -> int | None:
        """Guessed colour or None; `colour` is the true one where it is known."""
        i = _BORDER + x
        here, above, top = self.rows
        (w, w_missed), (n, n_missed), nw, ne = here[i - 1], above[i], above[i - 1][0], above[i + 1][0]
        pair = _mix(_mix(0, w), n)
        far = _mix(_mix(_mix(_mix(pair, nw), ne), here[i - 2][0]), top[i][0])
        self.slots = (
            self.wide.setdefault(self._slot(far), _Slot()),
            self.narrow.setdefault(self._slot(pair), _Slot()),
        )
        guesses = [
            (2 * s + k, g, slot.run) for s, slot in enumerate(self.slots) for k, g in enumerate(slot.colours)
        ]
        guesses += [(4, w, 0), (5, n, 0), (6, ne, 0), (7, nw, 0)]
        tried: list[int] = []
        for kind, guess, run in guesses:
            if guess in tried or len(tried) == 4:
                continue
            key = (len(tried), kind, _level(run, 0, 7), int(guess == w), int(guess == n), w_missed + n_missed)
            chance = self.chances.setdefault(key, [32768, 0])
            tried.append(guess)
            bit = int(code(_SCALES + _MISS_LEVEL[chance[0] >> 4], int(guess != colour)) != 0)
            chance[0] += ((65535 if bit else 0) - chance[0]) * _RATES[chance[1]] >> 16
            chance[1] = min(chance[1] + 1, 64)
            if not bit:
                return guess
        return None

    def learn(self, x: int, colour: int, hit: bool) -> None:
        self.rows[0][_BORDER + x] = (colour, int(not hit))
        for slot in self.slots:
            slot.learn(colour)

    def _slot(self, value: int) -> int:
        return (value * 0x85EBCA6B & 0xFFFFFFFF) >> 32 - self.bits


def _mix(value: int, colour: int) -> int:
    return ((value ^ colour) * 0x9E3779B1 & 0xFFFFFFFF) ^ value >> 15
