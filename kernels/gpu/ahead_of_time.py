"""Compile the GPU kernels without a GPU, and say what they use: ``python -m siglum.kernels.gpu.ahead_of_time``.

What matters here: a chunk's kernel is one warp, so that it must have no barrier; registers spilled to memory
would be in its inner loop.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from siglum.errors import UsageError
from siglum.kernels.gpu import kv_kernels, nearest_kernels
from siglum.kernels.gpu import rans_kernels as kernels

CAPABILITIES = (80, 90)
"""Of the GPUs that the tests compile for: A100, H100 and H200."""

_TYPES = {
    "data": "*u8", "starts": "*i64", "lookup": "*i32", "offsets": "*i32", "index": "i32", "tables": "i32",
    "chunk": "i32", "total": "i64", "report": "*i64", "side_sizes": "*i64", "places": "*i64",
    "place_starts": "*i64", "lasts": "*i32", "orders": "*i32", "status": "*i64", "entries": "*i64",
    "entry_starts": "*i32", "lanes": "i32", "scratch": "*i16", "states": "*i64", "heads": "*u8",
    "head_sizes": "*i64", "words": "*u8", "word_ends": "*i64", "word_sizes": "*i64", "sides": "*u8",
    "side_starts": "*i64", "out_starts": "*i64",
}  # fmt: skip
_NEAREST_TYPES = {
    "x": "*fp32", "codewords": "*fp32", "start": "*fp32", "before_scores": "*fp32", "before": "*i32",
    "scores": "*fp32", "out": "*i32", "ends": "*i32", "codes": "*i32", "left": "*fp32", "order": "*i64",
    "starts": "*i64", "sums": "*fp32", "count": "i32", "total": "i32", "dimension": "i32", "stride": "i32",
    "stages": "i32",
}  # fmt: skip
_KV_TYPES = {
    **dict.fromkeys(("cos", "sin", "first_mean", "second_mean", "first_matrix", "second_matrix", "bias"), "*fp32"),
    **dict.fromkeys(("first_bias", "second_bias"), "*fp32"),
    **dict.fromkeys(("tokens", "pairs", "angles", "count", "stride"), "i32"),
    "first_place": "*i64", "second_place": "*i64", "turns": "*i32",
}  # fmt: skip


@dataclass(frozen=True)
class Compiled:
    """A kernel compiled for one GPU.

    Attributes
    ----------
    name : str
    capability : int
        90 for sm_90.
    ptx : str
    cubin : bytes
    registers : int
        Of each thread.
    local_bytes : int
        Memory of a thread for what the registers do not hold: 0 means that nothing is spilled.
    shared_bytes : int
    barriers : int
        Barrier instructions in the PTX.
    """

    name: str
    capability: int
    ptx: str
    cubin: bytes
    registers: int
    local_bytes: int
    shared_bytes: int
    barriers: int


def compile_all(capability: int) -> Iterator[Compiled]:
    """Compile every kernel of the entropy coder, in every form that it launches.

    Parameters
    ----------
    capability : int
        80 for sm_80.

    Raises
    ------
    UsageError
        If triton has no tool to read the compiled code with.
    """
    for indexed in (False, True):
        form = "indexed" if indexed else "static"
        for closed in (False, True):
            flags = {"PRECISION": 12, "INDEXED": indexed, "CLOSED": closed}
            name = form + (", closed" if closed else "")
            for symbols in ("*u8", "*i32"):
                types = {"indexes": "*u8", "out": symbols, "symbols": symbols}
                width = "uint8" if symbols == "*u8" else "int32"
                yield _compile(f"decode {name} {width}", kernels.decode_kernel, types, flags, 1, capability)
                yield _compile(f"encode {name} {width}", kernels.encode_kernel, types, flags, 1, capability)
        types = {"indexes": "*u8", "out": "*i32"}
        yield _compile(f"escapes {form}", kernels.escape_kernel, types, {"INDEXED": indexed}, 1, capability)
    flags = {"HEAD": 156, "BLOCK": 1024}
    yield _compile("gather", kernels.gather_kernel, {"out": "*u8"}, flags, 4, capability)


def compile_nearest(capability: int) -> Iterator[Compiled]:
    """Compile every kernel of the search for the nearest codeword, in every form that it launches.

    Parameters
    ----------
    capability : int
        80 for sm_80.

    Raises
    ------
    UsageError
        As `compile_all`.
    """
    search, residual = nearest_kernels.search_kernel, nearest_kernels.residual_kernel
    forms = [
        ("nearest", search, {"before": None, "before_scores": None}),
        ("next nearest", search, {}),
        ("residual stages", residual, {}),
        ("sums", nearest_kernels.sum_kernel, {}),
    ]
    for name, kernel, flags in forms:
        yield _compile(name, kernel, _NEAREST_TYPES, flags, nearest_kernels.WARPS, capability, fused=True)


def compile_kv(capability: int) -> Iterator[Compiled]:
    """Compile every kernel of key-value caches, for every type of samples.

    Parameters
    ----------
    capability : int
        80 for sm_80.

    Raises
    ------
    UsageError
        As `compile_all`.
    """
    warps = kv_kernels.WARPS
    for samples in ("fp16", "bf16", "fp32"):
        types = {**_KV_TYPES, "samples": "*" + samples}
        for out, quantise in (("*i16", True), ("*fp32", False)):
            kinds, name = (
                types | {"out": out, "values": out},
                f"{samples} {'symbols' if quantise else 'floats'}",
            )
            yield _compile(
                f"analyse {name}",
                kv_kernels.analyse_kernel,
                kinds,
                {"QUANTISE": quantise},
                warps,
                capability,
                True,
            )
            limit = {"LIMIT": 65504 if samples == "fp16" else 0}
            yield _compile(
                f"synthesise {name}", kv_kernels.synthesise_kernel, kinds, limit, warps, capability, True
            )


def _compile(
    name: str,
    kernel: Any,
    types: dict[str, str],
    flags: dict[str, Any],
    warps: int,
    capability: int,
    fused: bool = False,
) -> Compiled:
    flags = dict(flags)
    if flags.get("INDEXED") is False:
        flags["indexes"] = None
    signature = {
        argument: "constexpr" if argument in flags else types.get(argument) or _TYPES[argument]
        for argument in kernel.arg_names
    }
    source = ASTSource(fn=kernel, signature=signature, constexprs=flags)
    options = {"num_warps": warps, "enable_fp_fusion": fused}
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    ptx, cubin = compiled.asm["ptx"], compiled.asm["cubin"]
    usage = _resources(cubin)
    return Compiled(
        name=name,
        capability=capability,
        ptx=ptx,
        cubin=cubin,
        registers=usage["REG"],
        local_bytes=usage["LOCAL"] + usage["STACK"],
        shared_bytes=usage["SHARED"],
        barriers=len(re.findall(r"\bbar(?:rier)?\.(?:cta\.)?(?:sync|red|arrive)", ptx)),
    )


def _resources(cubin: bytes) -> dict[str, int]:
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    if not tool.exists():
        raise UsageError(f"{tool} is missing: this triton was built without NVIDIA's tools")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        command = [str(tool), "-res-usage", str(path)]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {key: int(value) for key, value in re.findall(r"\b([A-Z]+):(\d+)", text)}


def main() -> None:
    """Print a table of all kernels."""
    print(f"triton {triton.__version__}")
    print("GPU    kernel                          registers  spilled  shared  barriers  cubin")
    for capability in CAPABILITIES:
        for it in chain(compile_all(capability), compile_nearest(capability), compile_kv(capability)):
            usage = f"{it.registers:<9}  {it.local_bytes:<7}  {it.shared_bytes:<6}  {it.barriers:<8}"
            print(f"sm_{capability}  {it.name:30}  {usage}  {len(it.cubin)}")


if __name__ == "__main__":
    main()
