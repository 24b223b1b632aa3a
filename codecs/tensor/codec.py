"""The `tensor` codec: arrays, alone or by name, <-> `.sgl` files; bit for bit unless an error is allowed."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from siglum.codecs import CODECS, container
from siglum.codecs.container import DTYPES, Chunk, ChunkType, Header
from siglum.codecs.container_source import Source
from siglum.codecs.tensor import planes, steps
from siglum.codecs.tensor.tensors import MAX_NAME, TYPES, Tensor
from siglum.errors import ChecksumMismatch, LimitExceeded, MalformedHeader, Truncated, UsageError
from siglum.kernels import dispatch
from siglum.kernels.checksum import crc32c

CODEC_ID = 96
CODEC_VERSION = 0
CHUNK = 2**20  # elements
EXACT, STEPS = range(2)
LOSSY_QUALITY = 1  # in the header of a file that may have lost something
MAX_TENSORS = 2**16
LIMITS = container.Limits(max_elements=2**40)
_DTYPES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32", "I32": "int32",
    "U64": "uint64", "I64": "int64", "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64",
    "F8_E4M3": "uint8", "F8_E5M2": "uint8",
}  # fmt: skip


@dataclass(frozen=True)
class TensorConfig:
    """Settings of the tensor codec.

    Attributes
    ----------
    quality
        None: bit for bit. 0 (smallest) to 100: floats are rounded to multiples of a step that halves every 10; at 50
        it is half of each tensor's root mean square, and the relative error (of the norms) about 0.14.
    max_error
        None, or the largest difference that any element may have, above 0; instead of a quality. Elements for which
        that cannot be kept are coded bit for bit.
    threads
        None: as many as there are CPUs.
    """

    quality: float | None = None
    max_error: float | None = None
    threads: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class _Part:
    """Elements first to last - 1 of a tensor: a chunk."""

    tensor: Tensor
    first: int
    last: int


@CODECS.register("tensor")
class TensorCodec:
    """Arrays of any type and shape, or mappings of names to arrays. Parameters are those of `TensorConfig`.

    Raises
    ------
    UsageError
        If a setting is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> array = np.linspace(0, 1, 1000, dtype=np.float32).reshape(10, 100)
    >>> bool((TensorCodec().decode_array(TensorCodec().encode(array)) == array).all())
    True
    >>> near = TensorCodec(max_error=1e-3).decode_array(TensorCodec(max_error=1e-3).encode(array))
    >>> bool(np.abs(near - array).max() <= 1e-3)
    True
    """

    id = CODEC_ID
    version = CODEC_VERSION

    def __init__(
        self, quality: float | None = None, max_error: float | None = None, threads: int | None = None
    ) -> None:
        if quality is not None and max_error is not None:
            raise UsageError("quality and max_error are two ways to say the same: give one")
        if quality is not None and not 0 <= quality <= 100:
            raise UsageError(f"quality is 0 to 100, not {quality}")
        if max_error is not None and not (math.isfinite(max_error) and max_error > 0):
            raise UsageError(f"max_error is above 0, not {max_error}")
        self.config = TensorConfig(quality, max_error, threads)
        self.threads = dispatch.threads(threads)

    def __repr__(self) -> str:
        return f"TensorCodec({', '.join(f'{k}={v!r}' for k, v in self.config.to_dict().items())})"

    @staticmethod
    def is_lossless(header: Header) -> bool:
        """Whether a file decodes to exactly what was encoded."""
        return header.quality is None

    def encode(self, arrays: Any) -> bytes:
        """One whole `.sgl` file of an array, or of a mapping of names to arrays (NumPy, torch on the CPU).

        Raises
        ------
        UnsupportedInputError
            If elements are of a type that is not coded.
        """
        if isinstance(arrays, Mapping):
            return self.encode_tensors([Tensor.of(array, str(name)) for name, array in arrays.items()])
        return self.encode_tensors([Tensor.of(arrays)])

    def encode_tensors(self, tensors: list[Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
        """One whole `.sgl` file of tensors, and of what is said of them."""
        out = io.BytesIO()
        self.write(tensors, out, metadata)
        return out.getvalue()

    def write(self, tensors: list[Tensor], file: BinaryIO, metadata: Mapping[str, str] | None = None) -> int:
        """Write tensors chunk by chunk, and return the file's bytes; the file object may be a pipe."""
        names = [tensor.name for tensor in tensors]
        if len(set(names)) != len(names) or len(names) > MAX_TENSORS:
            raise UsageError(f"names of at most {MAX_TENSORS} tensors must differ")
        alone = names == [""] and not metadata
        first = tensors[0] if alone else None
        lossless = self.config.quality is None and self.config.max_error is None
        header = Header(
            CODEC_ID,
            CODEC_VERSION,
            b"",
            (sum(tensor.data.size for tensor in tensors),) if first is None else first.shape,
            _DTYPES[first.kind] if first else "uint8",
            None if lossless else LOSSY_QUALITY,
        )
        with container.Writer(file, header, LIMITS) as writer:
            if not (first and len(first.shape) and min(first.shape)):
                writer.add(ChunkType.METADATA, _described(tensors, metadata or {}))
            parts = [part for tensor in tensors for part in _parts(tensor)]
            sizes = {tensor.name: self._step_of(tensor) for tensor in tensors}
            with ThreadPoolExecutor(self.threads) as pool:
                for begin in range(0, len(parts), 4 * self.threads):  # so that memory stays in bounds
                    some = parts[begin : begin + 4 * self.threads]
                    for payload, crc in pool.map(
                        lambda part: self._coded(part, sizes[part.tensor.name]), some
                    ):
                        writer.add(ChunkType.DATA, payload, symbols_crc=crc)
        return writer.size

    def decode(
        self, data: bytes, limits: container.Limits | None = None
    ) -> NDArray[Any] | dict[str, NDArray[Any]]:
        """The array of a file, or its arrays by name; bfloat16 as float32, 8-bit floats as bytes.

        Raises
        ------
        BitstreamError
            If the file is damaged, cut off or of a later version.
        """
        tensors, _ = self.decode_tensors(data, limits)
        if len(tensors) == 1 and not tensors[0].name:
            return tensors[0].array
        return {tensor.name: tensor.array for tensor in tensors}

    def decode_array(self, data: bytes, limits: container.Limits | None = None) -> NDArray[Any]:
        """The array of a file that has one.

        Raises
        ------
        UsageError
            If it has several.
        """
        tensors, _ = self.decode_tensors(data, limits)
        if len(tensors) != 1:
            raise UsageError(f"the file has {len(tensors)} tensors: decode it with TensorCodec().decode")
        return tensors[0].array

    def decode_tensors(
        self, data: bytes, limits: container.Limits | None = None
    ) -> tuple[list[Tensor], dict[str, str]]:
        """The tensors of a file, and what it says of them."""
        reader = container.Reader(data, limits or container.Limits())
        header = reader.header
        header.check_codec({CODEC_ID: CODEC_VERSION})
        header.check_keys(())
        chunks: dict[int, list[Chunk]] = {}
        for chunk in reader.chunks():
            chunks.setdefault(chunk.type, []).append(chunk)
        described, metadata = _description(header, chunks.get(ChunkType.METADATA, []), reader.limits)
        coded = chunks.get(ChunkType.DATA, [])
        wanted = [
            (kind, last - first) for _, kind, shape in described for first, last in _cuts(math.prod(shape))
        ]
        if len(coded) < len(wanted):
            raise Truncated(f"the file has {len(coded)} of {len(wanted)} parts: it was cut off")
        if len(coded) > len(wanted):
            raise MalformedHeader(f"the file has {len(coded)} parts where its tensors have {len(wanted)}")
        with ThreadPoolExecutor(self.threads) as pool:
            parts = iter(list(pool.map(_decoded, coded, *zip(*wanted, strict=True)) if wanted else ()))
        tensors = []
        for name, kind, shape in described:
            pieces = [next(parts) for _ in _cuts(math.prod(shape))]
            empty = np.zeros(0, TYPES[kind])
            flat = pieces[0] if len(pieces) == 1 else np.concatenate(pieces) if pieces else empty
            tensors.append(Tensor(name, kind, shape, flat))
        return tensors, metadata

    def _step_of(self, tensor: Tensor) -> tuple[float, float]:
        """Step and largest error of a tensor; a step of 0 follows from the error, both 0: bit for bit."""
        config = self.config
        if not tensor.is_float or not tensor.data.size:
            return 0.0, 0.0
        if config.quality is None:
            return 0.0, config.max_error or 0.0
        energy, count = 0.0, 0
        for first, last in _cuts(tensor.data.size):
            values = Tensor("", tensor.kind, (), tensor.data[first:last]).floats().astype(np.float64)
            values = values[np.isfinite(values)]
            energy, count = energy + float(np.square(values).sum()), count + values.size
        scale = math.sqrt(energy / count) if count else 0.0
        step = scale * 2 ** ((40 - config.quality) / 10)
        return (step, math.inf) if step > 0 and math.isfinite(step) else (0.0, 0.0)

    def _coded(self, part: _Part, size: tuple[float, float]) -> tuple[bytes, int]:
        """Payload of a part and CRC32C of what it decodes to."""
        tensor, (step, bound) = part.tensor, size
        data = np.ascontiguousarray(tensor.data[part.first : part.last])
        if step or bound:
            values = Tensor("", tensor.kind, (), data).floats()
            step = step or steps.step_within(values, tensor.kind, bound)
            coded = steps.encode(values, tensor.kind, step, bound) if step else None
            if coded is not None:
                return bytes([STEPS]) + coded[0], crc32c(coded[1].data.cast("B"))
        return bytes([EXACT]) + planes.encode(data, tensor.kind), crc32c(data.data.cast("B"))


def _cuts(count: int) -> list[tuple[int, int]]:
    return [(first, min(first + CHUNK, count)) for first in range(0, count, CHUNK)]


def _parts(tensor: Tensor) -> list[_Part]:
    return [_Part(tensor, first, last) for first, last in _cuts(tensor.data.size)]


def _decoded(chunk: Chunk, kind: str, count: int) -> NDArray[Any]:
    source = Source(chunk.payload)
    method = source.read(1, "how a part is coded")[0]
    if method == EXACT:
        data = planes.decode(source, count, kind, np.dtype(TYPES[kind]))
    elif method == STEPS and kind in ("F16", "BF16", "F32", "F64"):
        data = steps.decode(source, len(chunk.payload) - 1, count, kind)
    else:
        raise MalformedHeader("a part is coded in no way that there is: the file is damaged")
    if not source.at_end():
        raise MalformedHeader("bytes follow a part: the file is damaged")
    if crc32c(np.ascontiguousarray(data).data.cast("B")) != chunk.symbols_crc:
        raise ChecksumMismatch(f"part {chunk.sequence} does not decode to the checksum that the file gives")
    return data


def _described(tensors: list[Tensor], metadata: Mapping[str, str]) -> bytes:
    listed = [[tensor.name, tensor.kind, list(tensor.shape)] for tensor in tensors]
    return json.dumps({"tensors": listed, "metadata": dict(metadata)}, separators=(",", ":")).encode()


def _description(
    header: Header, chunks: list[Chunk], limits: container.Limits
) -> tuple[list[tuple[str, str, tuple[int, ...]]], dict[str, str]]:
    """Names, types and shapes, and the metadata."""
    if len(chunks) > 1:
        raise MalformedHeader("the file describes its tensors twice")
    if not chunks:
        kind = next((kind for kind, name in _DTYPES.items() if name == header.dtype), "")
        return [("", kind, header.shape)], {}
    try:
        fields = json.loads(chunks[0].payload)
        described = [
            (str(name), str(kind), tuple(int(extent) for extent in shape))
            for name, kind, shape in fields["tensors"]
        ]
        metadata = {str(key): str(value) for key, value in fields["metadata"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise MalformedHeader(f"the description of the tensors cannot be read: {error}") from error
    for name, kind, shape in described:
        if kind not in TYPES or min(shape, default=0) < 0 or len(shape) > 64 or len(name) > MAX_NAME:
            raise MalformedHeader(f"the tensor {name[:80]!r} is of no type or shape that there is")
    total = sum(math.prod(shape) for _, _, shape in described)
    if total > limits.max_elements:
        raise LimitExceeded(f"{total} elements are more than the limit of {limits.max_elements}")
    if len({name for name, _, _ in described}) != len(described):
        raise MalformedHeader("two tensors have the same name")
    return described, metadata


assert set(_DTYPES) == set(TYPES) and set(_DTYPES.values()) <= set(DTYPES)
__all__ = ["CODEC_ID", "TensorCodec", "TensorConfig"]
