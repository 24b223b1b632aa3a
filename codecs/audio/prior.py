"""Entropy coding of the audio codecs' codes: integer networks predict every code of a frame.

A frame's codes stand stage by stage. The networks see the frames before, from the start of the chunk on, and the
codes of the frame that come earlier; what they give is a softmax over the codewords in exact integers, so that a
stream decodes on every machine. How many stages a frame uses is coded before its codes, unless all frames of the
chunk use as many. docs/format.md has the arithmetic.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import siglum.kernels._native as _native
from siglum.entropy.codebook_fit import exponentials
from siglum.entropy.integer_network import IntegerNetwork, Pointwise
from siglum.errors import BitstreamError, MalformedHeader, Truncated
from siglum.kernels import dispatch

METADATA = "code_prior"
PRECISION = 15
EMBEDDING_UNIT = 16  # networks see 16 times the stored integers
PRESENT = 127 * EMBEDDING_UNIT  # what networks see in the place of a frame's number of stages
_KEYS = {"groups", "taps", "averages", "sees"}


class Prior:
    """Codes and counts of stages of one chunk of one channel, to bytes and back.

    Parameters
    ----------
    tensors
        ``words`` int8 (S, K, e): what the networks see of each codeword; and the networks of pointwise layers
        ``frame.``, ``count.``, ``context.`` and ``code.0.`` to ``code.{S - 1}.``, as `IntegerNetwork.tensors` names
        them.
    metadata
        What the networks need besides, and under ``code_prior`` the groups, the frames and running means that the
        context sees, and the codes that each code sees.

    Raises
    ------
    ValueError
        If anything is missing or does not fit, or a sum could leave 32 bits.
    """

    def __init__(self, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> None:
        settings = _parse(metadata.get(METADATA))
        words = np.asarray(tensors.get("words"))
        if words.dtype != np.int8 or words.ndim != 3 or not words.size or words.min() < -127:
            raise ValueError("words must be an int8 array (codes, codewords, embedding) within ±127")
        self.words = np.ascontiguousarray(words)
        self.codes, self.codewords, self.embedding = self.words.shape
        self.groups: int = settings["groups"]
        self.taps: int = settings["taps"]
        self.averages: list[int] = settings["averages"]
        self.sees: list[list[int]] = settings["sees"]
        if not 1 <= self.groups <= self.codes or self.codes % self.groups:
            raise ValueError(f"{self.codes} codes do not stand in {self.groups} groups")
        self.stages = self.codes // self.groups
        names = ["frame.", "count.", "context.", *(f"code.{i}." for i in range(self.codes))]
        self.networks = [IntegerNetwork.from_tensors(_under(tensors, name), metadata, name) for name in names]
        frame, count, context, *predictors = self.networks
        self.frame, self.context = frame.out_channels, context.out_channels
        for network, least in (
            (frame, PRESENT),
            (count, _reach(frame)),
            (context, max(PRESENT, _reach(frame))),
            *((network, max(PRESENT, _reach(context))) for network in predictors),
        ):
            if network.input_bound < least:
                raise ValueError(
                    f"a network takes inputs up to {network.input_bound}, but gets up to {least}"
                )
        self._native: dict[str, Any] = {}
        self._handle(dispatch.isa())

    def encode(self, codes: ArrayLike, counts: ArrayLike, *, isa: str | None = None) -> bytes:
        """Payload of a chunk.

        Parameters
        ----------
        codes : int array, shape (T, S)
            0 to K - 1; what a frame does not use is not read.
        counts : int array, shape (T,)
            Stages that each frame uses, 0 to S / G.
        isa
            Forces an instruction set. The result does not depend on it.

        Raises
        ------
        ValueError
            Wrong shapes, or a value out of range.
        """
        payload: bytes = self._handle(isa or dispatch.isa()).encode(*self._check(codes, counts))
        return payload

    def decode(
        self, payload: bytes, frames: int, *, isa: str | None = None
    ) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        """Codes (T, S), zeros where a frame has none, and counts (T,) of a chunk of ``frames`` frames.

        Raises
        ------
        BitstreamError
            The payload is cut off or damaged. Not all damage is seen: the chunk needs a checksum.
        """
        codes = np.empty((frames, self.codes), np.int32)
        counts = np.empty(frames, np.int32)
        data = np.frombuffer(payload, np.uint8)
        status = self._handle(isa or dispatch.isa()).decode(data, codes, counts)
        if status:
            kind, what = _PROBLEMS[status]
            raise kind(f"the coded frames {what}: the file is cut off or damaged")
        return codes, counts.astype(np.uint8)

    def bits(self, codes: ArrayLike, counts: ArrayLike | None = None) -> NDArray[np.float32]:
        """What each code costs, (T, S) in bits; 0 where a frame has none. By default all frames use all stages."""
        used = np.full(len(np.asarray(codes)), self.stages) if counts is None else counts
        return np.asarray(self._bits(codes, used)[0], np.float32)

    def count_bits(self, codes: ArrayLike, counts: ArrayLike) -> NDArray[np.float64]:
        """What the counts cost, (T + 1,) in bits: whether they change, then each of them."""
        return self._bits(codes, counts)[1]

    def choose(
        self,
        latents: NDArray[np.float32],
        books: NDArray[np.float32],
        counts: ArrayLike,
        weight: float,
        layout: ArrayLike | None = None,
    ) -> NDArray[np.int32]:
        """Codes that are near latents and cheap: code by code the least distance plus price times bits.

        Parameters
        ----------
        latents : float32, shape (T, G * D)
        books : float32, shape (S, D, K)
            Codewords of each code, component by component.
        counts : int array, shape (T,)
            Stages that each frame uses.
        weight
            Price of a bit, as a part of the distance to the nearest codeword: 0.01 to 0.03 is of use, 0 gives the
            nearest codewords.
        layout
            Group of each code; None: all take turns.

        Returns
        -------
        codes : int32, shape (T, S)
            Zeros where a frame has none.
        """
        used = np.ascontiguousarray(counts, np.int32)
        order = np.arange(self.codes) % self.groups if layout is None else layout
        codes = np.empty((len(latents), self.codes), np.int32)
        self._handle(dispatch.isa()).choose(
            np.ascontiguousarray(latents, np.float32),
            np.ascontiguousarray(books, np.float32),
            np.ascontiguousarray(order, np.int32),
            used,
            weight,
            codes,
        )
        return codes

    def logits(self, codes: ArrayLike, counts: ArrayLike) -> NDArray[np.int16]:
        """Logarithms of unnormalised probabilities of all codewords, (T, S, K), in 1/256 bit; 0 where none."""
        given, used = self._check(codes, counts)
        out = np.zeros((*given.shape, self.codewords), np.int16)
        self._handle(dispatch.isa()).logits(given, used, out)
        return out

    def _bits(self, codes: ArrayLike, counts: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        given, used = self._check(codes, counts)
        of_codes = np.full((*given.shape, 2), 1 << PRECISION, np.uint16)
        of_counts = np.empty(len(used) + 1, np.uint16)
        self._handle(dispatch.isa()).frequencies(given, used, of_codes, of_counts)
        logs = np.log2(of_codes, dtype=np.float64).sum(2)
        return 2 * PRECISION - logs, PRECISION - np.log2(of_counts, dtype=np.float64)

    def _check(self, codes: ArrayLike, counts: ArrayLike) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        given, used = np.asarray(codes), np.asarray(counts)
        if given.ndim != 2 or given.shape[1] != self.codes or given.dtype.kind not in "iu":
            raise ValueError(f"codes are {given.dtype} {given.shape}, wanted integers (frames, {self.codes})")
        if used.shape != given.shape[:1] or used.dtype.kind not in "iu":
            raise ValueError(f"counts are {used.dtype} {used.shape}, wanted integers ({len(given)},)")
        return np.ascontiguousarray(given, np.int32), np.ascontiguousarray(used, np.int32)

    def _handle(self, isa: str) -> Any:
        """The compiled prior for one instruction set."""
        handle = self._native.get(isa)
        if handle is None:
            handle = _native.CodePrior(
                isa,
                self.words,
                self.groups,
                self.frame,
                self.context,
                self.taps,
                self.averages,
                self.sees,
                exponentials(),
            )
            for index, network in enumerate(self.networks):
                for layer in network.layers:
                    if not isinstance(layer, Pointwise):
                        raise ValueError("the networks of codes have pointwise layers only")
                    parts = layer.weight, layer.bias, layer.multiplier
                    handle.add_layer(index, *parts, layer.shift, layer.low, layer.high)
            handle.check()
            self._native[isa] = handle
        return handle


_PROBLEMS: dict[int, tuple[type[BitstreamError], str]] = {
    1: (Truncated, "end too early"),
    2: (MalformedHeader, "do not begin as such"),
    3: (BitstreamError, "do not end where their symbols do"),
}


def _under(tensors: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name: array for name, array in tensors.items() if name.startswith(prefix)}


def _reach(network: IntegerNetwork) -> int:
    """Largest magnitude of an output."""
    last = network.layers[-1]
    return last.output_bound if isinstance(last, Pointwise) else 2**15


def _parse(text: object) -> dict[str, Any]:
    if not isinstance(text, str):
        raise ValueError("the prior of codes lacks its metadata")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("the metadata of the prior of codes are not JSON") from None
    if not isinstance(content, dict) or set(content) != _KEYS:
        raise ValueError("the metadata of the prior of codes have the wrong keys")
    lists = [
        content["averages"],
        content["sees"],
        *(content["sees"] if isinstance(content["sees"], list) else [0]),
    ]
    numbers = [content["groups"], content["taps"]]
    if all(isinstance(part, list) for part in lists):
        numbers += [*content["averages"], *(j for part in content["sees"] for j in part)]
        if all(
            isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**16 for value in numbers
        ):
            return content
    raise ValueError("the metadata of the prior of codes are malformed")
