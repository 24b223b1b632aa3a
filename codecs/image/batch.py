"""Many pictures at once: shared out among threads, or together through the networks in torch.

Symbols are coded picture by picture on the CPU in either case, in exact integers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from siglum.codecs.container import ChunkType, Limits, read_header
from siglum.codecs.image.effort import USUAL
from siglum.codecs.image.frame import check_header
from siglum.codecs.image.picture import Picture

if TYPE_CHECKING:
    from siglum.codecs.image.codec import ImageCodec
    from siglum.codecs.image.torch_engine import TorchEngine
    from siglum.codecs.image.weights import ImageWeights

GROUP_PIXELS = 2**23  # that go through the networks together at most
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def encode(codec: ImageCodec, pictures: Sequence[Picture | np.ndarray]) -> list[bytes]:
    """See `ImageCodec.encode_batch`."""
    items = [item if isinstance(item, Picture) else Picture(np.asarray(item)) for item in pictures]
    if not items:
        return []
    alone = _with_one_thread(codec)
    analysed: list[np.ndarray | None] = [None] * len(items)
    if codec.config.engine == "torch" and not codec.config.lossless:
        weights = codec.weights()
        for group in _groups(range(len(items)), lambda number: items[number].pixels.shape[:2]):
            colours = np.stack([_colours(items[number].pixels) for number in group])
            y = _torch_engine(weights).analyse_batch(colours, codec.level, codec.threads)
            for number, latents in zip(group, y, strict=True):
                analysed[number] = np.ascontiguousarray(latents)

    def finish(number: int) -> bytes:
        return alone.encode(items[number], analysed=analysed[number])

    # Gradients have threads of their own, and a GPU takes one picture at a time.
    together = codec.config.effort <= USUAL
    return _map(finish, range(len(items)), codec.threads if together else 1)


def decode(codec: ImageCodec, files: Sequence[bytes], limits: Limits | None = None) -> list[np.ndarray]:
    """See `ImageCodec.decode_batch`."""
    alone = _with_one_thread(codec)
    shown: list[np.ndarray | None] = [None] * len(files)
    if codec.config.engine == "torch":
        headers = [read_header(data, limits) for data in files]
        for header in headers:
            check_header(header)
        lossy_ones = [number for number, header in enumerate(headers) if not codec.is_lossless(header)]

        def latents_of(number: int) -> np.ndarray:
            header, found = alone.read(files[number], limits)
            return alone.latents(header, found.get(ChunkType.DATA, []))

        def kind(number: int) -> tuple[Any, ...]:
            header = headers[number]
            return (*header.shape[:2], header.quality, header.model)

        for group in _groups(lossy_ones, kind):
            height, width, level, model = kind(group[0])
            y = np.stack(_map(latents_of, group, codec.threads))
            pixels = _torch_engine(codec.weights(model)).synthesise_batch(y, level, codec.threads)
            for number, picture in zip(group, pixels, strict=True):
                shown[number] = np.ascontiguousarray(picture[:height, :width])

    def finish(number: int) -> np.ndarray:
        return alone.decode(files[number], limits, shown=shown[number]).pixels

    return _map(finish, range(len(files)), codec.threads)


def _groups(numbers: Iterable[int], kind: Callable[[int], tuple[Any, ...]]) -> Iterator[list[int]]:
    """Pictures of a kind together, as far as memory allows; large ones, which are cut into windows, in none."""
    found: dict[tuple[Any, ...], list[int]] = {}
    for number in numbers:
        if kind(number)[0] * kind(number)[1] <= GROUP_PIXELS:
            found.setdefault(kind(number), []).append(number)
    for key, group in found.items():
        size = max(1, GROUP_PIXELS // (key[0] * key[1]))
        yield from (group[start : start + size] for start in range(0, len(group), size))


def _with_one_thread(codec: ImageCodec) -> ImageCodec:
    """The same codec for each of many threads."""
    if codec.config.effort > USUAL:
        return codec
    return type(codec)(**{**codec.config.to_dict(), "threads": 1})


def _colours(pixels: np.ndarray) -> np.ndarray:
    return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels[..., :3]


def _torch_engine(weights: ImageWeights) -> TorchEngine:
    from siglum.codecs.image.torch_engine import TorchEngine

    engine = weights.engine("torch")
    assert isinstance(engine, TorchEngine)
    return engine


def _map(function: Callable[[_Item], _Result], items: Sequence[_Item], threads: int) -> list[_Result]:
    if threads == 1 or len(items) == 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))
