"""What the codec of tensors codes: arrays with a name and one of the types of `.safetensors`, and their files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from siglum.errors import UnsupportedInputError

# Type -> NumPy's type of the same bytes; what NumPy lacks is there as words.
TYPES: dict[str, str] = {
    "BOOL": "|b1", "U8": "|u1", "I8": "|i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4", "U64": "<u8",
    "I64": "<i8", "F16": "<f2", "BF16": "<u2", "F32": "<f4", "F64": "<f8", "F8_E4M3": "|u1", "F8_E5M2": "|u1",
}  # fmt: skip
OPAQUE = ("BF16", "F8_E4M3", "F8_E5M2")
MAX_NAME = 4096
MAX_HEADER = 2**26


@dataclass(frozen=True)
class Tensor:
    """An array as it is coded.

    Attributes
    ----------
    name
        Of the array in its file; "" for an array alone.
    kind
        Its type as `.safetensors` calls it, a key of `TYPES`.
    shape
        Its extents.
    data
        Its elements in C order, flat, of NumPy's type of the same bytes; bfloat16 as words.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    data: NDArray[Any]

    @property
    def array(self) -> NDArray[Any]:
        """The elements in their shape; bfloat16 as float32, 8-bit floats as bytes."""
        flat = self.floats() if self.kind == "BF16" else self.data
        return flat.reshape(self.shape)

    def floats(self) -> NDArray[Any]:
        """The elements as float32, or float64 of a tensor of float64; flat."""
        if self.kind == "BF16":
            return (self.data.astype(np.uint32) << 16).view(np.float32)
        return self.data.astype(np.float64 if self.kind == "F64" else np.float32)

    @property
    def is_float(self) -> bool:
        """Whether it can be coded with a loss."""
        return self.kind in ("F16", "BF16", "F32", "F64")

    @staticmethod
    def of(array: Any, name: str = "") -> Tensor:
        """A NumPy array or a torch tensor on the CPU.

        Raises
        ------
        UnsupportedInputError
            If its elements are of another type.
        """
        if type(array).__module__.partition(".")[0] == "torch":
            array = array.detach().contiguous()
            if str(array.dtype) == "torch.bfloat16":
                import torch

                words = array.view(torch.int16).numpy().view(np.uint16)
                return Tensor(name, "BF16", tuple(array.shape), words.reshape(-1))
            array = array.numpy()
        array = np.asarray(array)
        kinds = {dtype: kind for kind, dtype in TYPES.items() if kind not in OPAQUE}
        kind = kinds.get(array.dtype.newbyteorder("<").str)
        if kind is None:
            raise UnsupportedInputError(
                f"arrays of {array.dtype} are not coded: {', '.join(sorted(TYPES))} are"
            )
        flat = np.ascontiguousarray(array, TYPES[kind]).reshape(-1)
        return Tensor(name, kind, array.shape, flat)


def rounded(values: NDArray[Any], kind: str) -> NDArray[Any]:
    """Floats as elements of a type: what `Tensor.data` holds."""
    if kind != "BF16":
        with np.errstate(over="ignore"):
            return values.astype(TYPES[kind])
    bits = values.astype(np.float32).view(np.uint32)
    # To the nearest, ties to even.
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2")


def read_file(source: str | Path | bytes) -> tuple[list[Tensor], dict[str, str]]:
    """Tensors of a `.safetensors` or `.npy` file, and the former's metadata; from a path they are mapped, not read.

    Raises
    ------
    UnsupportedInputError
        If it is neither, is damaged or cut off, or holds a type that is not coded.
    """
    raw: NDArray[np.uint8]
    if isinstance(source, bytes):
        raw = np.frombuffer(source, np.uint8)
    else:
        raw = np.memmap(source, np.uint8, "r") if Path(source).stat().st_size else np.zeros(0, np.uint8)
    if raw[:6].tobytes() == b"\x93NUMPY":
        return [_npy(raw)], {}
    length = int.from_bytes(raw[:8].tobytes(), "little")
    if raw.size < 8 or not 2 <= length <= min(MAX_HEADER, raw.size - 8):
        raise UnsupportedInputError(
            "neither a .safetensors nor a .npy file: its header is missing or cut off"
        )
    try:
        header = json.loads(raw[8 : 8 + length].tobytes())
        metadata = {str(key): str(value) for key, value in header.pop("__metadata__", {}).items()}
        tensors = [_tensor(str(name), fields, raw[8 + length :]) for name, fields in header.items()]
    except UnsupportedInputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnsupportedInputError(f"the .safetensors file is damaged or cut off: {error}") from error
    return tensors, metadata


def _tensor(name: str, fields: Mapping[str, Any], data: NDArray[np.uint8]) -> Tensor:
    kind, shape = str(fields["dtype"]), tuple(int(extent) for extent in fields["shape"])
    start, end = (int(offset) for offset in fields["data_offsets"])
    if kind not in TYPES:
        raise UnsupportedInputError(f"the tensor {name!r} is of {kind}, which is not coded")
    dtype = np.dtype(TYPES[kind])
    if min(shape, default=0) < 0 or not 0 <= start <= end <= data.size:
        raise ValueError(f"the tensor {name!r} goes beyond the end")
    if end - start != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"the tensor {name!r} of shape {shape} has {end - start} bytes")
    return Tensor(name, kind, shape, data[start:end].view(dtype))


def _npy(raw: NDArray[np.uint8]) -> Tensor:
    import io

    try:
        return Tensor.of(np.load(io.BytesIO(raw.tobytes()), allow_pickle=False))
    except (ValueError, EOFError, OSError) as error:
        raise UnsupportedInputError(f"the .npy file is damaged, or holds objects: {error}") from error


def write_safetensors(tensors: list[Tensor], metadata: Mapping[str, str], file: BinaryIO) -> None:
    """Write tensors as `.safetensors`; an array without a name is called "array"."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for tensor in tensors:
        end = offset + tensor.data.nbytes
        header[tensor.name or "array"] = {
            "dtype": tensor.kind, "shape": list(tensor.shape), "data_offsets": [offset, end],
        }  # fmt: skip
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for tensor in tensors:
        file.write(np.ascontiguousarray(tensor.data).data.cast("B"))
