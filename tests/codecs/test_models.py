from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from siglum.codecs import models
from siglum.errors import UnknownModel, UnsupportedInputError, UsageError

CARD = {"name": "mine", "codec": "image", "licence": "CC0-1.0", "seed": 7}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("SIGLUM_MODELS", raising=False)
    monkeypatch.setattr(models, "PACKAGE_FOLDER", tmp_path / "package")
    return tmp_path / "data" / "siglum" / "models"


def make(folder: Path, name: str = "mine", value: int = 1, **card: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.safetensors"
    tensors = {"w": np.full((2, 3), value, np.int8), "é": np.array(0.5, np.float16)}
    save_file(tensors, path)
    fields = CARD | {"name": name, "id": models.model_id(tensors).hex()} | card
    path.with_suffix(".json").write_text(json.dumps(fields))
    return path


def test_the_id_is_what_its_definition_says() -> None:
    tensors = {"é": np.array(0.5, np.float16), "w": np.arange(6, dtype=np.int8).reshape(2, 3)}
    by_hand = (
        struct.pack("<I", 1) + b"w" + b"\x02I8" + b"\x02" + struct.pack("<QQ", 2, 3) + bytes(range(6))
        + struct.pack("<I", 2) + "é".encode() + b"\x03F16" + b"\x00" + struct.pack("<e", 0.5)
    )  # fmt: skip
    assert models.model_id(tensors) == hashlib.sha256(by_hand).digest()[:8]
    shuffled = {name: tensors[name].astype(tensors[name].dtype.newbyteorder(">"), order="F")
                for name in ("w", "é")}  # fmt: skip
    assert models.model_id(shuffled) == models.model_id(tensors)


@pytest.fixture
def any_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let weights pass that are no model of their codec."""
    monkeypatch.setattr(models, "_check_fits", lambda *_: None)


def test_weights_that_are_no_model_of_the_codec_are_refused(tmp_path: Path, home: Path) -> None:
    with pytest.raises(UnknownModel, match="no model of the image codec"):
        models.add(make(tmp_path / "elsewhere"))
    with pytest.raises(UnsupportedInputError, match="not installed"):
        models.add(make(tmp_path / "elsewhere", codec="imago"))
    for name in ("../x", "a/b", "A B", ".hidden", "a\n"):
        path = make(tmp_path / "elsewhere")
        path.with_suffix(".json").write_text(json.dumps(CARD | {"codec": name}))
        with pytest.raises(UnsupportedInputError, match="codec must be of"):
            models.add(path)
    assert not home.exists()


def test_tensors_of_the_encoder_do_not_change_the_id() -> None:
    tensors = {"w": np.arange(6, dtype=np.int8)}
    assert models.model_id({**tensors, "encoder.v": np.ones(3, np.int8)}) == models.model_id(tensors)


@pytest.mark.usefixtures("any_weights")
def test_add_find_and_load(tmp_path: Path, home: Path) -> None:
    source = make(tmp_path / "elsewhere")
    added = models.add(source)
    assert added.path.parent == home and added.card["seed"] == 7 and added.size == source.stat().st_size
    assert models.catalogue() == [added]
    assert models.find(bytes.fromhex(added.id)) == added == models.named("mine", "image")
    assert models.load(added)["w"].tolist() == [[1, 1, 1]] * 2
    assert models.add(source) == added  # again, with nothing changed
    assert sorted(path.suffix for path in home.iterdir()) == [".json", ".safetensors"]


def test_the_search_path_has_precedence_but_hides_no_id(tmp_path: Path, monkeypatch) -> None:
    make(tmp_path / "package", value=1)
    make(tmp_path / "one", value=2)
    make(tmp_path / "two", name="other", value=3)
    monkeypatch.setenv("SIGLUM_MODELS", f"{tmp_path / 'one'}:{tmp_path / 'two'}:{tmp_path / 'absent'}")
    assert [(model.name, model.path.parent.name) for model in models.catalogue()] == [
        ("mine", "package"),
        ("other", "two"),
    ]
    hidden = json.loads((tmp_path / "one" / "mine.json").read_text())["id"]
    assert models.find(bytes.fromhex(hidden)).path.parent.name == "one"


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match=r"needs the model 0102030405060708, .* codec models add"):
        models.find(bytes(range(1, 9)))
    make(tmp_path / "package")
    with pytest.raises(UnknownModel, match="no model 'large' for the codec 'image'; there are: mine"):
        models.named("large", "image")


@pytest.mark.usefixtures("any_weights")
def test_a_name_that_is_taken_needs_force(tmp_path: Path) -> None:
    make(tmp_path / "package", value=1)
    source = make(tmp_path / "elsewhere", value=2)
    with pytest.raises(UsageError, match="another model 'mine'"):
        models.add(source)
    assert models.add(source, force=True).id != models.named("mine", "image").id


def test_altered_weights_are_not_loaded(tmp_path: Path) -> None:
    path = make(tmp_path / "package")
    (model,) = models.catalogue()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(UnknownModel, match="other weights than its card says"):
        models.load(model)
    path.write_bytes(data[:20])
    with pytest.raises(UnknownModel, match="install the model 'mine' again"):
        models.load(model)


@pytest.mark.parametrize(
    ("card", "message"),
    [
        (None, "needs a card"),
        ("{", "no valid JSON"),
        ("[]", "lacks the field 'name'"),
        ({"name": "x", "codec": "image"}, "lacks the field 'licence'"),
        (CARD | {"id": "00" * 8}, "the card is for the weights 0000000000000000"),
    ],
)
def test_bad_cards_are_refused(card: object, message: str, tmp_path: Path, home: Path) -> None:
    path = make(tmp_path / "elsewhere")
    if card is None:
        path.with_suffix(".json").unlink()
    else:
        path.with_suffix(".json").write_text(card if isinstance(card, str) else json.dumps(card))
    with pytest.raises(UnsupportedInputError, match=message):
        models.add(path)
    assert not home.exists()


def test_bad_weights_are_refused(tmp_path: Path, home: Path) -> None:
    path = make(tmp_path / "elsewhere")
    for content in (b"", b"\x80\x04pickle" * 10, path.read_bytes()[:-1], b"\xff" * 100):
        path.write_bytes(content)
        with pytest.raises(UnsupportedInputError):
            models.add(path)
    pickle = path.rename(path.with_suffix(".pt"))
    with pytest.raises(UnsupportedInputError, match=r"must be in a \.safetensors file"):
        models.add(pickle)
    with pytest.raises(FileNotFoundError):
        models.add(tmp_path / "absent.safetensors")
    assert not home.exists()


def test_a_broken_card_does_not_hide_the_other_models(tmp_path: Path) -> None:
    make(tmp_path / "package", name="a").with_suffix(".json").write_text("{")
    make(tmp_path / "package", name="b")
    with pytest.warns(models.ModelWarning, match=r"a\.json: the card is no valid JSON; passed over"):
        assert [model.name for model in models.catalogue()] == ["b"]
