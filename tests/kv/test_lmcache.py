"""The serde fits LMCache's interface; with LMCache installed, LMCache itself runs it."""

from __future__ import annotations

import abc
import importlib.util
import inspect
import select
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from siglum import kv  # noqa: E402
from siglum.errors import BitstreamError, SiglumError, UnsupportedInputError  # noqa: E402
from siglum.kv import lmcache as serde  # noqa: E402


class Serializer(abc.ABC):
    """The methods that LMCache 0.5.6 asks of a serializer."""

    @abc.abstractmethod
    def serialize(self, src: Any, dst: Any, key: Any) -> int: ...

    @abc.abstractmethod
    def estimate_serialized_size(self, layout_desc: Any) -> int: ...


class Deserializer(abc.ABC):
    """The method that LMCache 0.5.6 asks of a deserializer."""

    @abc.abstractmethod
    def deserialize(self, src: Any, dst: Any, key: Any) -> None: ...


def chunk_of(tokens: int = 256, layers: int = 3, dtype: Any = torch.bfloat16) -> Any:
    torch.manual_seed(1)
    scale = torch.logspace(0, -2, 32).repeat(2)
    return (torch.randn(2, layers, tokens, 64) * scale).to(dtype)


def obj(tensor: Any, positions: Any = None) -> Any:
    return SimpleNamespace(tensor=tensor, meta=SimpleNamespace(cached_positions=positions))


def around(chunk: Any, serializer: Any) -> tuple[Any, int]:
    layout = SimpleNamespace(shapes=[chunk.shape], dtypes=[chunk.dtype])
    buffer = torch.full((serializer.estimate_serialized_size(layout),), 255, dtype=torch.uint8)
    size = serializer.serialize(obj(chunk), obj(buffer), None)
    out = torch.zeros_like(chunk)
    serde.SiglumDeserializer().deserialize(obj(buffer), obj(out), None)
    narrowed = torch.zeros_like(chunk)
    serde.SiglumDeserializer().deserialize(obj(buffer[:size]), obj(narrowed), None)
    assert torch.equal(out, narrowed)
    return out, size


@pytest.mark.parametrize(("ours", "theirs"), [
    (serde.SiglumSerializer, Serializer), (serde.SiglumDeserializer, Deserializer),
])  # fmt: skip
def test_the_methods_are_those_of_the_interface(ours: type, theirs: type) -> None:
    for name in theirs.__abstractmethods__:  # type: ignore[attr-defined]
        wanted = list(inspect.signature(getattr(theirs, name)).parameters)
        assert list(inspect.signature(getattr(ours, name)).parameters) == wanted


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_lossless_is_exact(dtype: Any) -> None:
    chunk = chunk_of(130, dtype=dtype)
    out, size = around(chunk, serde.SiglumSerializer(32, lossless=True))
    assert torch.equal(out, chunk) and size < chunk.nbytes


def test_lossy_is_close_and_small() -> None:
    chunk = chunk_of()
    rope = kv.Rope(10000.0, 32)
    out, size = around(chunk, serde.SiglumSerializer(32, rope, quality=80))
    assert size < chunk.nbytes / 2
    assert float((out - chunk).float().square().mean()) < 0.01 * float(chunk.float().square().mean())


def test_the_estimate_is_never_exceeded() -> None:
    torch.manual_seed(2)
    for tokens in (1, 5, 64, 65, 300):
        noise = torch.randint(-(2**15), 2**15, (2, 2, tokens, 64), dtype=torch.int16).view(torch.bfloat16)
        noise = torch.nan_to_num(noise, nan=1.0, posinf=2.0, neginf=3.0)
        around(noise, serde.SiglumSerializer(32, lossless=True))
        around(100 * torch.randn(2, 2, tokens, 64), serde.SiglumSerializer(32, quality=100))


def test_what_is_refused() -> None:
    serializer, chunk = serde.SiglumSerializer(32), chunk_of(64)
    buffer = torch.zeros(10, dtype=torch.uint8)
    with pytest.raises(SiglumError, match="the buffer has 10 bytes"):
        serializer.serialize(obj(chunk), obj(buffer), None)
    for wrong in (chunk[0], chunk[:1], chunk[..., :33], None, chunk.to(torch.float64)):
        with pytest.raises(UnsupportedInputError):
            serializer.serialize(obj(wrong), obj(buffer), None)
    with pytest.raises(BitstreamError, match="says that it has"):
        serde.SiglumDeserializer().deserialize(obj(torch.full((99,), 9, dtype=torch.uint8)), obj(chunk), None)
    big = torch.zeros(10**6, dtype=torch.uint8)
    serializer.serialize(obj(chunk), obj(big), None)
    with pytest.raises(BitstreamError, match="was stored"):
        serde.SiglumDeserializer().deserialize(obj(big), obj(chunk[:, :2]), None)
    big[40] ^= 255
    with pytest.raises(BitstreamError):
        serde.SiglumDeserializer().deserialize(obj(big), obj(chunk), None)


def test_without_lmcache_it_says_so() -> None:
    if importlib.util.find_spec("lmcache") is not None:
        pytest.skip("LMCache is installed")
    with pytest.raises(SiglumError, match="pip install"):
        serde.register()


@pytest.mark.filterwarnings("default")
def test_lmcache_itself_runs_it() -> None:
    base = pytest.importorskip(
        "lmcache.v1.distributed.serde", reason="LMCache is not installed (extra lmcache)"
    )
    from lmcache.v1.distributed.api import MemoryLayoutDesc
    from lmcache.v1.memory_management import MemoryObjMetadata, TensorMemoryObj

    def memory(tensor: Any) -> Any:
        meta = MemoryObjMetadata(
            tensor.shape, tensor.dtype, 0, tensor.nbytes, 1, shapes=[tensor.shape], dtypes=[tensor.dtype]
        )
        return TensorMemoryObj(tensor.view(torch.uint8).flatten(), meta, None)

    serde.register()
    serde.register()
    config = base.SerdeConfig("siglum", {"head_dim": 32, "lossless": True})
    processor, chunk = base.create_serde_processor(config), chunk_of()
    size = processor.estimate_serialized_size(MemoryLayoutDesc([chunk.shape], [chunk.dtype]))
    buffer, out = memory(torch.zeros(size, dtype=torch.uint8)), memory(torch.zeros_like(chunk))
    try:
        for submit, query, fd, pair in (
            (processor.submit_serialize, processor.query_serialize_result,
             processor.get_serialize_event_fd(), (memory(chunk), buffer)),
            (processor.submit_deserialize, processor.query_deserialize_result,
             processor.get_deserialize_event_fd(), (buffer, out)),
        ):  # fmt: skip
            task = submit([pair[0]], [pair[1]], [None])
            assert select.select([fd], [], [], 60)[0]
            assert query(task) is True
    finally:
        processor.close()
    assert torch.equal(out.tensor, chunk) and buffer.get_size() < chunk.nbytes
