"""Cutting packages into texts for calibrations."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import pytest

from siglum.benchmarks import kv_texts


def test_readers() -> None:
    assert kv_texts.plain(gzip.compress("añ".encode())) == "añ"
    assert kv_texts.page(b"<head>x</head><p>A &amp; B</p><p>C</p>") == "A & B\nC"
    assert kv_texts.manual(b'.\\" note\n.SH NAME\n\\fBls\\fR \\- list\n') == "NAME\nls - list"
    assert kv_texts.fortunes(b"one\n%\ntwo") == "one\n\ntwo"
    assert kv_texts.dialogue(b'[message]\n speaker=Ann\n message= _ "Hello."\n[/message]') == "Ann: Hello."
    asked = kv_texts.chat(b"<h2>1.1. Why?</h2><p>Because.</p><h2>Note</h2><p>No.</p>")
    assert asked == "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\nBecause.<|im_end|>\n"
    line = b"\0\x04\0\x09" + (5).to_bytes(4, "big") + b"Emma,"
    packed = zlib.compress(b"RDX" + line + line)
    assert kv_texts.novels(len(packed).to_bytes(4, "big") + packed) == "Emma,\nEmma,"
    assert kv_texts.printable(b"\x01\x02" + b"a line of some length" + b"\x00") == "a line of some length"


def test_nothing_is_shared_with_what_is_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [" ".join(f"w{i}x{j}" for j in range(12)) for i in range(800)]
    (tmp_path / "book").write_text("\n".join(lines))
    monkeypatch.setattr(kv_texts, "SOURCES", (("book", "book", kv_texts.plain, 3),))
    free = dict(kv_texts.documents(tmp_path, set()))
    assert sorted(free) == ["book-00", "book-01", "book-02"]
    kept = kv_texts.shingles(free["book-00"][200:900])
    apart = dict(kv_texts.documents(tmp_path, kept))
    assert len(apart) == 3 and all(kept.isdisjoint(kv_texts.shingles(text)) for text in apart.values())
    monkeypatch.setattr(kv_texts, "SOURCES", (("none", "missing/*", kv_texts.plain, 1),))
    with pytest.raises(SystemExit, match="missing"):
        list(kv_texts.documents(tmp_path, set()))
