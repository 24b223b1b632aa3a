from __future__ import annotations

import sys
from importlib.metadata import EntryPoint

import pytest

from siglum import registry as module
from siglum.errors import UnknownCodecError, UsageError
from siglum.registry import Registry


class Thing:
    def __init__(self, size: int = 1) -> None:
        self.size = size


class Other(Thing):
    pass


def announce(monkeypatch: pytest.MonkeyPatch, *points: EntryPoint) -> None:
    monkeypatch.setattr(
        module, "entry_points", lambda group: [point for point in points if point.group == group]
    )


def test_what_is_registered_is_found_and_made() -> None:
    registry: Registry[Thing] = Registry("thing")
    assert registry.register("thing")(Thing) is Thing
    registry.register("other")(Other)
    assert registry.names() == list(registry) == ["other", "thing"]
    assert len(registry) == 2 and "thing" in registry and "nothing" not in registry
    assert registry.find("thing") is Thing
    assert registry.get("other", size=3).size == 3


def test_a_duplicate_is_refused_and_the_first_stays() -> None:
    registry: Registry[Thing] = Registry("thing")
    registry.register("thing")(Thing)
    with pytest.raises(UsageError, match=r"'thing' is already registered by .*Thing; .*Other needs another"):
        registry.register("thing")(Other)
    assert registry.find("thing") is Thing


def test_an_unknown_name_lists_near_matches() -> None:
    registry: Registry[Thing] = Registry("thing")
    with pytest.raises(UnknownCodecError, match="unknown thing 'x'; none is registered"):
        registry.get("x")
    registry.register("image")(Thing)
    registry.register("audio")(Other)
    with pytest.raises(UnknownCodecError, match=r"unknown thing 'imgae'; did you mean 'image'\?"):
        registry.get("imgae")
    with pytest.raises(UnknownCodecError, match="there are: audio, image"):
        registry.get("zzz")


def test_entry_points_are_listed_without_import_and_loaded_on_use(monkeypatch: pytest.MonkeyPatch) -> None:
    announce(
        monkeypatch,
        EntryPoint("fraction", "fractions:Fraction", "siglum.things"),
        EntryPoint("broken", "no_such_module_at_all:Thing", "siglum.things"),
    )
    registry: Registry[object] = Registry("thing", group="siglum.things")
    assert registry.names() == ["broken", "fraction"]
    assert registry.get("fraction", numerator=1, denominator=2) == 0.5
    with pytest.raises(ModuleNotFoundError):
        registry.find("broken")


def test_two_claims_on_a_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (EntryPoint("thing", f"{name}:Thing", "siglum.things") for name in ("one", "two"))
    announce(monkeypatch, first, second)
    with pytest.raises(UsageError, match="claimed more than once: one:Thing, two:Thing"):
        Registry("thing", group="siglum.things").find("thing")
    announce(monkeypatch, first, first)
    with pytest.raises(ModuleNotFoundError):
        Registry("thing", group="siglum.things").find("thing")


def test_modules_are_imported_at_first_use(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lazily_registered.py").write_text(
        "import registry_home\n@registry_home.things.register('lazy')\nclass Lazy:\n    pass\n"
    )
    (tmp_path / "registry_home.py").write_text(
        "from siglum.registry import Registry\n"
        "things = Registry('thing', modules={'lazy': 'lazily_registered'})\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import registry_home

    assert registry_home.things.names() == ["lazy"]
    assert "lazily_registered" not in sys.modules
    assert type(registry_home.things.get("lazy")).__name__ == "Lazy"
