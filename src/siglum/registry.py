"""One registry class for everything that is found by name: codecs, quantizers, coders, metrics, datasets."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from siglum.errors import UnknownCodecError, UsageError

T = TypeVar("T")
Entry = TypeVar("Entry", bound=Callable[..., Any])


class Registry(Generic[T]):
    """Classes (or functions) by name, from this package and from others.

    Parameters
    ----------
    kind
        What is registered, for messages: "codec", "quantizer", "metric".
    group
        Entry-point group in which other distributions announce theirs, such as ``siglum.codecs``.
    modules
        Modules that register a name when they are imported. They are imported at the first use of the name,
        so that listing the names costs nothing.

    Examples
    --------
    >>> quantizers = Registry("quantizer")
    >>> @quantizers.register("scalar")
    ... class Scalar:
    ...     def __init__(self, step: float = 1.0) -> None:
    ...         self.step = step
    >>> quantizers.names()
    ['scalar']
    >>> quantizers.get("scalar", step=0.5).step
    0.5
    """

    def __init__(self, kind: str, group: str | None = None, modules: Mapping[str, str] | None = None) -> None:
        self.kind = kind
        self.group = group
        self._modules = dict(modules or {})
        self._entries: dict[str, Callable[..., T]] = {}
        self._found: set[str] = (
            set()
        )  # names that were looked for once: other distributions do not claim them

    def register(self, name: str) -> Callable[[Entry], Entry]:
        """Return a decorator that puts a class or function under ``name``.

        Raises
        ------
        UsageError
            If the name is taken: nothing is ever replaced silently.
        """

        def add(entry: Entry) -> Entry:
            present = self._entries.get(name)
            if present is not None:
                raise UsageError(
                    f"the {self.kind} {name!r} is already registered by {_origin(present)}; "
                    f"{_origin(entry)} needs another name"
                )
            self._entries[name] = entry
            return entry

        return add

    def names(self) -> list[str]:
        """Return all names in alphabetical order; imports none of the entries."""
        return sorted({*self._entries, *self._modules, *self._announced()})

    def find(self, name: str) -> Callable[..., T]:
        """Return the class or function that was registered as ``name``.

        Raises
        ------
        UnknownCodecError
            If there is none; the message lists near matches.
        UsageError
            If two distributions claim the name.
        """
        if name in self._found:
            return self._entries[name]
        if name not in self._entries and name in self._modules:
            importlib.import_module(self._modules[name])
        announced = self._announced().get(name, [])
        if len(announced) > 1 or (announced and name in self._modules):
            claims = [self._modules[name]] if name in self._modules else []
            claims += [point.value for point in announced]
            raise UsageError(f"the {self.kind} {name!r} is claimed more than once: {', '.join(claims)}")
        if name not in self._entries and announced:
            entry = announced[0].load()
            # The import may have registered it by the decorator already.
            self._entries.setdefault(name, entry)
        if name not in self._entries:
            raise UnknownCodecError(self._unknown(name))
        self._found.add(name)
        return self._entries[name]

    def get(self, name: str, **config: Any) -> T:
        """Make the object registered as ``name`` with the given configuration."""
        return self.find(name)(**config)

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())

    def _announced(self) -> dict[str, list[EntryPoint]]:
        if self.group is None:
            return {}
        announced: dict[str, list[EntryPoint]] = {}
        for point in entry_points(group=self.group):
            points = announced.setdefault(point.name, [])
            # An editable install beside a build folder may list the same distribution twice.
            if point.value not in [other.value for other in points]:
                points.append(point)
        return announced

    def _unknown(self, name: str) -> str:
        names = self.names()
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        if near:
            hint = f"did you mean {' or '.join(repr(match) for match in near)}?"
        elif names:
            hint = f"there are: {', '.join(names)}"
        else:
            hint = "none is registered"
        return f"unknown {self.kind} {name!r}; {hint}"


def _origin(entry: Callable[..., Any]) -> str:
    return f"{entry.__module__}.{getattr(entry, '__qualname__', type(entry).__qualname__)}"
