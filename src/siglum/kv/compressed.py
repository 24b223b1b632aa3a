"""A cache for transformers that keeps old tokens compressed in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import (
    Cache,
    CacheLayerMixin,
    DynamicCache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
)

from siglum.codecs.kv.cache import KVCache, Layer, numpy_of
from siglum.codecs.kv.codec import KVCodec
from siglum.codecs.kv.layout import BLOCK
from siglum.codecs.kv.rope import ropes_of_config
from siglum.codecs.kv.settings import AUTO
from siglum.errors import UnsupportedInputError, UsageError
from siglum.kv.past import Past

__all__ = ["CompressedCache", "CompressedLayer"]


class CompressedLayer(CacheLayerMixin):
    """A layer of a `CompressedCache`: recent tokens in `keys` and `values`, older ones in the cache's files."""

    is_sliding = False
    is_croppable = True

    def __init__(self, owner: CompressedCache, place: int) -> None:
        super().__init__()
        self._owner, self._place = owner, place

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Take type, device and shape of the first tokens."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys, self.values = key_states[..., :0, :], value_states[..., :0, :]
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Take new tokens (batch, heads, tokens, channels); return all there are, old ones decoded."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        self.keys = torch.cat([self.keys, key_states], dim=-2)
        self.values = torch.cat([self.values, value_states], dim=-2)
        keys, values = self.keys, self.values
        old = self._owner.past.take(self._place, self.device)
        if old is not None:
            keys, values = torch.cat([old[0], keys], dim=-2), torch.cat([old[1], values], dim=-2)
        self._owner.updated(self._place)
        return keys, values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of what the mask covers."""
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        """Tokens, compressed or not."""
        return self._owner.past.tokens + (self.keys.shape[-2] if self.keys is not None else 0)

    def get_max_length(self) -> int:
        """-1: there is no limit."""
        return -1

    def reset(self) -> None:
        """Forget everything."""
        self.keys = self.values = None  # type: ignore[assignment]
        self.is_initialized = False

    def recent(self, work: Callable[[Tensor], Tensor]) -> None:
        """Replace recent keys and values by what `work` makes of them."""
        if self.keys is not None and self.values is not None:
            self.keys, self.values = work(self.keys), work(self.values)


class CompressedCache(Cache):
    """A cache for `model.generate(past_key_values=…)` that holds old tokens as `.sgl` files in memory.

    Between two passes of the model it holds the files, and at most ``window + block - 1`` tokens of every layer as they
    are; in a pass, besides, the pass's own new tokens, and all tokens of at most two of the codec's groups of layers,
    decoded: read long prompts in several passes. Sliding windows are left as transformers keeps them: they are
    short. Every pass decodes every file once: this trades time for memory.

    Parameters
    ----------
    config
        The model's.
    quality, lossless, effort, threads, calibration
        As in `siglum.kv.KVConfig`.
    window
        Tokens that stay as they are, at least.
    block
        Tokens are compressed this many at a time, or a multiple; itself a multiple of 64. Without calibration each file
        has a transform of its own: do not go below 256.
    model
        Name by which ``calibration="auto"`` chooses; by default that of `config`.

    Raises
    ------
    UnsupportedInputError
        If a layer is neither full nor sliding attention, or how keys are turned is not known.

    Notes
    -----
    Of prompts padded on the left, keys are turned back by the position in the batch, not by the sequence's own: with a
    calibration this costs bits, never correctness.
    """

    def __init__(
        self,
        config: Any,
        *,
        quality: float = 60.0,
        lossless: bool = False,
        window: int = 64,
        block: int = 256,
        calibration: Any = AUTO,
        effort: int = 5,
        threads: int | None = None,
        model: str = "",
    ) -> None:
        if window < 0 or block < BLOCK or block % BLOCK:
            raise UsageError(f"window is 0 or more and block a multiple of {BLOCK}, not {window} and {block}")
        made: list[Any] = []
        full: list[int] = []
        for number, layer in enumerate(DynamicCache(config=config).layers):
            if type(layer) is DynamicLayer:
                made.append(CompressedLayer(self, len(full)))
                full.append(number)
            elif type(layer) is DynamicSlidingWindowLayer:
                made.append(layer)
            else:
                raise UnsupportedInputError(
                    f"layer {number} is a {type(layer).__name__}: compressed in memory are layers of full attention, "
                    "beside layers with sliding windows"
                )
        if not full:
            raise UnsupportedInputError("no layer is of full attention: there is nothing to compress")
        super().__init__(layers=made)
        fields = config.to_dict()
        ropes = ropes_of_config(fields, len(made))
        self._ropes = [ropes[number] for number in full]
        self._full: list[CompressedLayer] = [made[number] for number in full]
        self._model = model or str(getattr(config, "_name_or_path", "") or "")
        self.window, self.block = window, block
        if calibration == AUTO and len(full) < len(made):
            calibration = None  # it is of all layers together
        settings = {"quality": quality, "lossless": lossless, "effort": effort, "threads": threads}
        self._codec = KVCodec(calibration=calibration, **settings)
        self.past = Past(None if calibration == AUTO else calibration, threads)

    @property
    def nbytes(self) -> int:
        """Bytes that are held: files, tensors, and what is decoded at the moment."""
        held = sum(
            part.untyped_storage().nbytes()
            for layer in self.layers
            for part in (getattr(layer, "keys", None), getattr(layer, "values", None))
            if part is not None
        )
        return held + self.past.nbytes

    @property
    def compressed_tokens(self) -> int:
        """Tokens of each sequence that are compressed."""
        return self.past.tokens

    def updated(self, place: int) -> None:
        """Compress what is old enough, once the last of the layers has its new tokens."""
        if place < len(self._full) - 1:
            return
        self.past.release()
        keys = self._full[0].keys
        assert keys is not None
        count = max(keys.shape[-2] - self.window, 0) // self.block * self.block
        if count:
            rows = [self._codec_for_next().encode(self._old(row, count)) for row in range(keys.shape[0])]
            self.past.add(rows, count)
            for layer in self._full:
                layer.recent(lambda part: part[..., count:, :].clone())

    def _codec_for_next(self) -> KVCodec:
        if not self.past.tokens:
            return self._codec
        return KVCodec(**self._codec.config.to_dict() | {"sinks": 0})

    def _old(self, row: int, count: int) -> KVCache:
        """The first recent tokens of a sequence, in all compressed layers."""
        layers, kind = [], ""
        for layer, rope in zip(self._full, self._ropes, strict=True):
            assert layer.keys is not None and layer.values is not None
            kind, keys = numpy_of(layer.keys[row, :, :count])
            layers.append(Layer(keys, numpy_of(layer.values[row, :, :count])[1], rope))
        return KVCache(layers, kind, self._model, self.past.tokens)

    def reset(self) -> None:
        """Forget everything."""
        self.past.clear()
        super().reset()

    def crop(self, tokens_to_remove: int) -> None:
        """Remove the last tokens; compressed ones of which some stay are decoded for good.

        Parameters
        ----------
        tokens_to_remove
            0 or negative, as for `DynamicCache`.
        """
        if tokens_to_remove > 0:
            raise ValueError(f"crop takes the negative number of tokens to remove, not {tokens_to_remove}")
        for other in self.layers:
            if isinstance(other, DynamicSlidingWindowLayer):
                other.crop(tokens_to_remove)
        keys, count = self._full[0].keys, -tokens_to_remove
        if keys is None or not count:
            return
        stay = max(keys.shape[-2] - count, 0)
        wanted = self._full[0].get_seq_length() - count
        for layer in self._full:
            layer.recent(lambda part: part[..., :stay, :])
        if wanted < self.past.tokens:
            back = self.past.cut(max(wanted, 0), len(self._full), self._full[0].device)
            for layer, pair in zip(self._full, back, strict=False):
                layer.keys, layer.values = pair

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Take the sequences in another order, some of them several times or not at all."""
        self.batch_select_indices(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep only the sequences of these numbers, in this order; or those that a mask marks."""
        chosen = indices.nonzero().flatten() if indices.dtype == torch.bool else indices
        self._rearrange(chosen.tolist())

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Take each sequence several times."""
        keys = self._full[0].keys
        if keys is not None:
            self._rearrange([row for row in range(keys.shape[0]) for _ in range(repeats)])

    def _rearrange(self, rows: Sequence[int]) -> None:
        self.past.select(rows)
        for layer in self._full:
            layer.recent(lambda part: part.index_select(0, torch.tensor(rows, device=part.device)))
        for other in self.layers:
            if isinstance(other, DynamicSlidingWindowLayer):
                other.batch_select_indices(torch.tensor(rows))
