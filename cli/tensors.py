"""The seam between the verbs and the codec of tensors; what is heavy is imported when it is called."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siglum.cli.files import check_writable, open_output
from siglum.cli.inputs import Input
from siglum.cli.kinds import HEAD_BYTES, NPY, SAFETENSORS, kind_of
from siglum.cli.output import Reporter, print_json, say
from siglum.cli.units import format_size
from siglum.errors import UsageError

if TYPE_CHECKING:
    from siglum.codecs.tensor.tensors import Tensor

CODEC = "tensor"
SUFFIXES = (".npy", ".safetensors")


def is_tensor_input(source: Input) -> bool:
    """Whether an input is `.npy`, or `.safetensors` that hold no key-value cache; standard input never is."""
    if source.path is None or source.failure is not None:
        return False
    with source.path.open("rb") as file:
        kind = kind_of(file.read(HEAD_BYTES))
    if kind != SAFETENSORS:
        return kind == NPY
    from siglum.codecs.kv.files import is_cache, read_tensors

    return not is_cache(read_tensors(source.path)[0])


def is_tensor_file(data: bytes) -> bool:
    """Whether a siglum file holds tensors."""
    from siglum.codecs import name_of_id
    from siglum.codecs.container import read_header

    return name_of_id(read_header(data).codec) == CODEC


def encode_tensors(
    source: Input,
    target: Path | None,
    *,
    quality: float | None,
    max_error: float | None,
    threads: int | None,
    force: bool,
    reporter: Reporter,
    data: bytes | None = None,
) -> None:
    """Encode the tensors of a file, chunk by chunk."""
    from siglum.codecs.tensor.codec import TensorCodec
    from siglum.codecs.tensor.tensors import read_file

    check_writable(source, target, force)
    codec = TensorCodec(quality, max_error, threads)
    tensors, metadata = read_file(source.path if data is None and source.path is not None else data or b"")
    before = sum(tensor.data.nbytes for tensor in tensors)
    elements = sum(tensor.data.size for tensor in tensors)
    start = time.perf_counter()
    with open_output(target, force) as file:
        after = codec.write(tensors, file, metadata)
    seconds = time.perf_counter() - start
    rate = 8 * after / max(elements, 1)
    how = "exact" if quality is None and max_error is None else "with a loss"
    reporter.close(
        f"{source.name}  {_count(tensors)}, {how}: {format_size(before)} -> {format_size(after)}  "
        f"{rate:.3f} bits an element  {_speed(before, seconds)}",
        {
            "input": source.name,
            "output": None if target is None else str(target),
            "codec": CODEC,
            "tensors": len(tensors),
            "elements": elements,
            "exact": how == "exact",
            "input_bytes": before,
            "output_bytes": after,
            "bits_per_element": rate,
            "seconds": seconds,
        },
    )


def decode_tensors(
    source: Input,
    target: Path | None,
    tensors: list[Tensor],
    metadata: dict[str, str],
    *,
    as_npy: bool,
    size: int,
    seconds: float,
    force: bool,
    reporter: Reporter,
) -> None:
    """Write decoded tensors as `.npy` or `.safetensors`."""
    from siglum.codecs.tensor.tensors import write_safetensors

    if as_npy and len(tensors) != 1:
        raise UsageError(f"{source.name} holds {len(tensors)} tensors, .npy one: write .safetensors")
    with open_output(target, force) as file:
        if as_npy:
            import numpy as np

            np.lib.format.write_array(file, tensors[0].array, allow_pickle=False)
        else:
            write_safetensors(tensors, metadata, file)
    nbytes = sum(tensor.data.nbytes for tensor in tensors)
    reporter.close(
        f"{source.name}  {format_size(size)} -> {_count(tensors)} ({format_size(nbytes)})  {_speed(nbytes, seconds)}",
        {
            "input": source.name,
            "output": None if target is None else str(target),
            "format": "npy" if as_npy else "safetensors",
            "tensors": len(tensors),
            "input_bytes": size,
            "seconds": seconds,
        },
    )


def read_tensors(data: bytes, threads: int | None) -> tuple[list[Tensor], dict[str, str], float]:
    """Decode a file of tensors: them, what it says of them, and the seconds that it took."""
    from siglum.codecs.tensor.codec import TensorCodec

    start = time.perf_counter()
    tensors, metadata = TensorCodec(threads=threads).decode_tensors(data)
    return tensors, metadata, time.perf_counter() - start


def suffix_of(tensors: list[Tensor]) -> str:
    """The kind of file that holds them all as they are: `.npy` for an array without a name."""
    plain = len(tensors) == 1 and not tensors[0].name and tensors[0].kind[:2] not in ("BF", "F8")
    return SUFFIXES[not plain]


def verify_tensors(source: Input, data: bytes, threads: int | None, *, as_json: bool, quiet: bool) -> None:
    """Decode tensors and say that they are whole."""
    tensors, _, seconds = read_tensors(data, threads)
    nbytes = sum(tensor.data.nbytes for tensor in tensors)
    if as_json:
        record: dict[str, Any] = {
            "input": source.name,
            "ok": True,
            "tensors": len(tensors),
            "seconds": seconds,
        }
        print_json(record)
    elif not quiet:
        say(f"{source.name}: ok  {_count(tensors)}  {_speed(nbytes, seconds)}")


def _count(tensors: list[Tensor]) -> str:
    return f"{len(tensors)} tensor{'s' if len(tensors) != 1 else ''}"


def _speed(nbytes: int, seconds: float) -> str:
    return f"{seconds:.2f} s ({nbytes / max(seconds, 1e-6) / 1e9:.3f} GB/s)"
