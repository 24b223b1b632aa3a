from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from siglum.benchmarks import harness, rows, summary
from siglum.benchmarks.coder import Coder
from siglum.benchmarks.items import Item, find
from siglum.benchmarks.measure import Task, kept_path
from siglum.benchmarks.rows import Row, read_rows
from siglum.errors import UnsupportedInputError, UsageError


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    # On the path, so that other processes find it too.
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "fakes"))
    import fake_coders

    return fake_coders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(8)
    y, x = np.mgrid[:180, :190]
    pictures = tmp_path / "pictures"
    (pictures / "more").mkdir(parents=True)
    for i, name in enumerate(("a.png", "more/b.png")):
        waves = np.stack([np.sin(x / (9 + i)), np.cos(y / 7), np.sin((x + y) / 13)], axis=-1)
        pixels = np.clip(128 + 60 * waves + rng.normal(0, 5, waves.shape), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(pictures / name)
    return pictures


def without_times(found: list[Row]) -> list[Row]:
    return [replace(row, encode_s=None, decode_s=None) for row in found]


def test_two_runs_give_the_same_rows_in_the_order_of_the_plan(
    folder: Path, tmp_path: Path, fake: ModuleType
) -> None:
    plan = harness.plan([folder], ["image", "jpeg"], coders=fake.make)
    keep = tmp_path / "keep"
    first = harness.run(plan, tmp_path / "1.jsonl", "codec bench", keep=keep, coders=fake.make)
    second = harness.run(plan, tmp_path / "2.jsonl", "codec bench", jobs=2, coders=fake.make)
    assert without_times(first) == without_times(second)
    assert [(row.item, row.codec, row.dial) for row in first] == [
        (item, codec, dial)
        for item in ("a.png", "more/b.png")
        for codec in ("image", "jpeg")
        for dial in (1, 3, 6)
    ]
    row = first[0]
    stream = (keep / "image" / "1" / "a.png.fake").read_bytes()
    assert row.bytes == len(stream) and row.rate == 8 * len(stream) / (180 * 190) and row.rate_unit == "bpp"
    decoded = np.asarray(Image.open(keep / "jpeg" / "6" / "more" / "b.png.png"))
    assert np.array_equal(decoded, fake.decode((keep / "jpeg" / "6" / "more" / "b.png.fake").read_bytes()))
    assert row.metrics.keys() == {"psnr", "psnr_y", "ms_ssim"} and row.failure is None
    assert row.encode_s is not None and row.encode_s > 0 and row.settings == {"step": 60}
    run, on_disk = read_rows(tmp_path / "1.jsonl")
    assert on_disk == first
    assert run["command"] == "codec bench" and run["data"][0]["items"] == 2
    assert run["machine"].keys() == {"cpu", "cores", "isa", "os", "python"} and "numpy" in run["versions"]


def test_every_failure_is_a_row_and_the_others_stand(folder: Path, tmp_path: Path, fake: ModuleType) -> None:
    (folder / "c.png").write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    names = ["jpeg", "jpeg-444", "jpeg2000", "webp", "avif", "heif", "jxl"]
    plan = harness.plan([folder], names, metrics=["psnr"], coders=fake.make)
    found = harness.run(plan, tmp_path / "rows.jsonl", "", coders=fake.make)
    failed = {(row.codec, row.item, row.dial): row.failure for row in found if row.failure is not None}
    assert failed["jxl", None, None] == {
        "stage": "missing",
        "message": "jxl needs something: pip install something",
    }
    assert {stage["stage"] for (_, item, _), stage in failed.items() if item == "c.png"} == {"read"}
    assert failed["jpeg-444", "a.png", 1] == {
        "stage": "encode",
        "message": "RuntimeError: this codec throws",
    }
    assert failed["jpeg2000", "a.png", 1]["stage"] == "decode"
    assert "(180, 190, 3) became uint8 of (179, 190, 3)" in failed["jpeg2000", "a.png", 1]["message"]
    assert failed["webp", "a.png", 3] == {"stage": "encode", "message": "its process was ended by SIGSEGV"}
    assert ("webp", "a.png", 6) not in failed
    assert failed["avif", "a.png", 1]["message"] == "encoded twice, it gives two streams"
    assert failed["heif", "a.png", 1]["message"] == "decoded twice, it gives two results"
    assert not any(codec == "jpeg" and item != "c.png" for codec, item, _ in failed)
    text = "\n".join(summary.failures(found))
    assert "missing: jxl: jxl needs something" in text and "encode: webp at 3 a.png: its process" in text


def test_a_run_is_resumed_where_it_stopped(
    folder: Path, tmp_path: Path, fake: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "rows.jsonl"
    plan = harness.plan([folder], ["image", "webp"], coders=fake.make)
    whole = harness.run(plan, file, "", coders=fake.make)
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:6]) + lines[6][:40])  # as if it had been killed within a line
    measured: list[Row] = []

    def note(found, count):  # type: ignore[no-untyped-def]
        for row in found:
            measured.append(row)
            yield row

    again = harness.run(plan, file, "", resume=True, progress=note, coders=fake.make)
    assert without_times(again) == without_times(whole)
    assert len(measured) == 12 - 5 + 1  # what was missing, and what had failed
    measured.clear()
    more = harness.plan([folder], ["image"], metrics=["psnr", "ms-ssim"], coders=fake.make)
    harness.run(more, file, "", resume=True, progress=note, coders=fake.make)
    named = harness.plan([folder], ["image"], {"image": (6.0, 1.0)}, coders=fake.make)
    harness.run(named, file, "", resume=True, progress=note, coders=fake.make)
    assert measured == []
    monkeypatch.setattr(harness, "machine", lambda: {"cpu": "another"})
    with pytest.raises(UsageError, match="another machine"):
        harness.run(plan, file, "", resume=True, coders=fake.make)


def test_a_codec_is_added_to_the_rows_of_others(folder: Path, tmp_path: Path, fake: ModuleType) -> None:
    file = tmp_path / "rows.jsonl"
    first = harness.run(harness.plan([folder], ["jpeg"], coders=fake.make), file, "", coders=fake.make)
    plan = harness.plan([folder], ["image"], {"image": (3,)}, limit=1, coders=fake.make)
    both = harness.run(plan, file, "", resume=True, coders=fake.make)
    assert both[1:] == [row for row in first if row.item == "a.png"] and both[0].codec == "image"
    assert read_rows(file)[1] == both

    plan = harness.plan([folder], ["image"], {"image": (6,)}, limit=1, coders=fake.make_newer)
    third = harness.run(plan, file, "", resume=True, coders=fake.make_newer)
    assert [(row.codec, row.dial) for row in third] == [("image", 6), ("jpeg", 1), ("jpeg", 3), ("jpeg", 6)]


def test_a_picture_that_changed_is_measured_again(folder: Path, tmp_path: Path, fake: ModuleType) -> None:
    file = tmp_path / "rows.jsonl"
    before = harness.run(harness.plan([folder], ["jpeg"], coders=fake.make), file, "", coders=fake.make)
    Image.new("RGB", (180, 180), "green").save(folder / "a.png")
    plan = harness.plan([folder], ["jpeg"], coders=fake.make)
    after = harness.run(plan, file, "", resume=True, coders=fake.make)
    assert before[0].sha256 != after[0].sha256 and before[3:] == after[3:]
    assert after[0].metrics["psnr"] is not None


def test_a_file_of_something_else_is_refused(folder: Path, tmp_path: Path, fake: ModuleType) -> None:
    plan = harness.plan([folder], ["jpeg"], coders=fake.make)
    for text in ('{"a": 1}\n', "notes\n", '{"run": {}}\n{"codec": "x", "colour": 3}\n'):
        (tmp_path / "notes").write_text(text)
        with pytest.raises(UsageError, match="holds no rows of `codec bench`"):
            harness.run(plan, tmp_path / "notes", "", resume=True, coders=fake.make)
        assert (tmp_path / "notes").read_text() == text


def test_what_cannot_be_planned_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown codec 'gif'; there are image, jpeg"):
        harness.plan([folder], ["gif"])
    with pytest.raises(UsageError, match="unknown metric 'beauty'; there are psnr"):
        harness.plan([folder], ["jpeg"], metrics=["beauty"])
    with pytest.raises(UsageError, match="opus codes audios, and there are none"):
        harness.plan([folder], ["opus"])
    with pytest.raises(UsageError, match="-q names webp, which is not among the codecs"):
        harness.plan([folder], ["jpeg"], {"webp": (3,)})
    with pytest.raises(UsageError, match="cannot be imported"):
        harness.plan([folder], ["jpeg"], metrics=["no.module:score"])
    with pytest.raises(FileNotFoundError, match="absent: no such file"):
        harness.plan([tmp_path / "absent"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnsupportedInputError, match="holds nothing to be coded"):
        harness.plan([tmp_path / "empty"])


def test_a_codec_whose_package_is_broken_is_a_row(folder: Path) -> None:
    def broken(name: str, threads: int) -> Coder:
        raise ImportError("libjxl.so: cannot open shared object file")

    plan = harness.plan([folder], ["jxl"], coders=broken)
    assert plan.tasks == [] and plan.absent[0].failure == {
        "stage": "missing",
        "message": "ImportError: libjxl.so: cannot open shared object file",
    }


def test_dials_limits_and_quick_runs(folder: Path, fake: ModuleType) -> None:
    plan = harness.plan([folder], ["image", "jpeg"], {"jpeg": (2.5,), "": (4,)}, limit=1, coders=fake.make)
    assert [(task.codec, task.dial) for task in plan.tasks] == [("image", 4), ("jpeg", 2.5)]
    assert len(harness.plan([folder], ["jpeg"], quick=True, limit=9, coders=fake.make).datasets[0].items) == 2


def test_a_metric_of_ones_own(folder: Path, tmp_path: Path, fake: ModuleType) -> None:
    plan = harness.plan(
        [folder], ["jpeg"], metrics=["siglum.benchmarks.metrics:mse"], limit=1, coders=fake.make
    )
    found = harness.run(plan, tmp_path / "rows.jsonl", "", coders=fake.make)
    assert all(row.metrics["mse"] is not None and row.metrics["mse"] > 0 for row in found)


def test_items_of_two_folders_have_names_of_their_own(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    Image.new("L", (20, 10), 77).save(tmp_path / "other" / "a.png")
    first, second = find([folder, tmp_path / "other"])
    assert [item.name for item in first.items] == ["a.png", "more/b.png"]
    assert [item.name for item in second.items] == [f"{tmp_path.name}/other/a.png"]
    assert first.sha256 == find([folder])[0].sha256 != second.sha256


def test_rows_are_written_whole(tmp_path: Path) -> None:
    row = Row("jpeg", item="ä\n.png", metrics={"psnr": None}, rate=0.1 + 0.2)
    rows.write_rows(tmp_path / "rows.jsonl", {"command": "x"}, [row])
    assert read_rows(tmp_path / "rows.jsonl") == ({"command": "x"}, [row])
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 2
    json.loads((tmp_path / "rows.jsonl").read_text().splitlines()[1])
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]
    assert read_rows(Path("/dev/null")) == ({}, [])


def test_names_of_tensors_and_of_no_text_lead_nowhere(tmp_path: Path) -> None:
    item = Item("m.safetensors#../../../x", "tensor", tmp_path / "m", "../../../x")
    path = kept_path(tmp_path, Task(item, "", "zstd", None), ".zst")
    assert path == tmp_path / "zstd" / "none" / "m.safetensors#..%2F..%2F..%2Fx.zst"
    odd = tmp_path / os.fsdecode(b"\xff.png")
    Image.new("L", (20, 10), 77).save(odd)
    dataset = find([tmp_path])[0]
    assert [item.name for item in dataset.items] == ["\\udcff.png"] and len(dataset.sha256) == 64
