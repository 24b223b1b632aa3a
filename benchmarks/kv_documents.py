"""The documents of a KV benchmark: a prefix whose cache is coded, and how the text goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from siglum.codecs.kv.cache import KVCache
from siglum.codecs.kv.files import read_cache, write_cache
from siglum.errors import UnsupportedInputError

if TYPE_CHECKING:
    from siglum.benchmarks.kv_model import Model

PREFIX, CONTINUATION = 2048, 256
NEEDLE = "The pass key is {key}. Remember it. {key} is the pass key.\n"
QUESTION = "\nWhat is the pass key? The pass key is"
TEXTS = (".txt", ".md", ".rst", ".py", ".html")


@dataclass
class Document:
    """A piece of text as tokens.

    Attributes
    ----------
    name
        Its path below the folder.
    tokens, continuation
        Numbers of tokens; empty where nothing is known but the cache.
    answer
        Start and stop, within the continuation, of what only the prefix can tell.
    path
        Of its cache, where there is one on a disk.
    recompute_s
        How long the model took over the prefix, if that was measured now.
    """

    name: str
    tokens: list[int]
    continuation: list[int]
    answer: tuple[int, int] | None = None
    path: Path | None = None
    recompute_s: float | None = None

    @property
    def sha256(self) -> str:
        """Digest of the tokens, or of the cache where they are unknown."""
        if not self.tokens and self.path is not None:
            return sha256(self.path.read_bytes()).hexdigest()
        return sha256(json.dumps([self.tokens, self.continuation]).encode()).hexdigest()

    def cache(self, model: Model | None) -> KVCache:
        """The cache after the prefix: read, or computed."""
        if self.path is not None:
            return read_cache(self.path)
        if model is None:
            raise UnsupportedInputError(f"{self.name} is a text: its cache needs a model")
        made, self.recompute_s = model.prefill(self.tokens)
        return made

    def save(self, folder: Path, cache: KVCache) -> None:
        """Keep the cache and the tokens in a folder, from which `find` reads them."""
        path = folder / f"{Path(self.name).with_suffix('')}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_cache(cache, path)
        fields = {"tokens": self.tokens, "continuation": self.continuation}
        path.with_suffix(".json").write_text(
            json.dumps(fields | ({"answer": self.answer} if self.answer else {}))
        )


def find(
    paths: Sequence[Path], model: Model | None, prefix: int, continuation: int, limit: int | None
) -> list[Document]:
    """The documents below folders: caches (`.safetensors`, tokens in a `.json` beside), and texts.

    Of a text that is long enough the first tokens are taken.

    Raises
    ------
    UnsupportedInputError
        If there is none, or there are only texts and no model.
    """
    found: list[Document] = []
    for path in paths:
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        here = list(_documents(inside, path if path.is_dir() else path.parent, model, prefix, continuation))
        found += here[:limit]
    if not found:
        what = "caches (.safetensors) nor texts" if model else "caches (.safetensors); texts need --model"
        raise UnsupportedInputError(f"neither {what} of {prefix} tokens below {', '.join(map(str, paths))}")
    return found


def _documents(
    files: list[Path], root: Path, model: Model | None, prefix: int, continuation: int
) -> Iterator[Document]:
    for file in files:
        name = str(file.relative_to(root))
        if file.suffix == ".safetensors":
            beside = file.with_suffix(".json")
            fields = json.loads(beside.read_text()) if beside.exists() else {}
            answer = fields.get("answer")
            rest = fields.get("continuation", [])
            yield Document(
                name.removesuffix(".safetensors"),
                fields.get("tokens", []),
                rest if answer else rest[:continuation],
                (answer[0], answer[1]) if answer else None,
                file,
            )
        elif file.suffix in TEXTS and model is not None:
            tokens = model.tokens(file.read_text(errors="replace"))
            if len(tokens) >= prefix + 2:
                yield Document(name, tokens[:prefix], tokens[prefix : prefix + continuation])


def needles(documents: Sequence[Document], model: Model) -> list[Document]:
    """A document with a hidden pass key for each, at depths from 0.1 to 0.9, always the same."""
    found = []
    for number, document in enumerate(documents):
        key = str(10000 + int(document.sha256[:12], 16) % 90000)
        found.append(needle(document, model, key, (0.1, 0.3, 0.5, 0.7, 0.9)[number % 5]))
    return found


def needle(document: Document, model: Model, key: str, depth: float) -> Document:
    """The same prefix with a pass key hidden in it, and a question for it after.

    Parameters
    ----------
    key
        What is hidden, such as five digits.
    depth
        Where: 0 is the beginning of the prefix, 1 its end.
    """
    hidden, question = model.tokens(NEEDLE.format(key=key)), model.tokens(QUESTION)
    answer = model.tokens(f" {key}")
    room = len(document.tokens) - len(hidden)
    at = round(depth * room)
    tokens = document.tokens[:at] + hidden + document.tokens[at:room]
    start = len(question)
    return Document(f"needle-{key}-{document.name}", tokens, question + answer, (start, start + len(answer)))
