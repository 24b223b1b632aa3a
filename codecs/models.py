"""The catalogue of models: weights as safetensors, each with a JSON card beside it.

Models are looked for in the package, then in the directories of ``SIGLUM_MODELS`` (separated as in ``PATH``),
then in the user's own folder (``$XDG_DATA_HOME/siglum/models``, by default ``~/.local/share/siglum/models``).
Nothing is ever downloaded, and nothing here imports torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import struct
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglum.errors import SiglumError, UnknownModel, UnsupportedInputError, UsageError

PACKAGE_FOLDER = Path(__file__).parent / "weights"
REQUIRED_FIELDS = ("name", "codec", "licence")
ID_BYTES = 8
ENCODER = "encoder."  # tensors below this are used by encoders and training only: files do not depend on them
PREVIEW = "preview."  # ... and by decoders of small pictures, which need not be the same everywhere
_PLAIN = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
# The names that the safetensors format gives to NumPy's types.
_TYPE_NAMES = {
    "float16": "F16",
    "float32": "F32",
    "float64": "F64",
    "int8": "I8",
    "int16": "I16",
    "int32": "I32",
    "int64": "I64",
    "uint8": "U8",
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
    "bool": "BOOL",
}


class ModelWarning(UserWarning):
    """A file on the search path is no usable model and is passed over."""


@dataclass(frozen=True)
class Model:
    """A model that is installed.

    Attributes
    ----------
    name
        What ``--model`` calls it.
    codec
        The codec that it is for.
    id
        Sixteen hexadecimal digits: the eight bytes that name it in the header of a file.
    size
        Size of the weights' file in bytes.
    licence
        Licence of the weights, as an SPDX expression.
    path
        The weights' file.
    card
        All fields of the card.
    """

    name: str
    codec: str
    id: str
    size: int
    licence: str
    path: Path
    card: dict[str, Any] = field(repr=False, compare=False, hash=False)


def model_id(tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the eight bytes by which files name a model.

    They are the first bytes of a SHA-256 over the tensors that decoding uses, which are all but those whose
    names begin with ``encoder.`` or ``preview.``, in the order of their names (by UTF-8 bytes). Each adds,
    little-endian: the length of its name in bytes (u32), the name in UTF-8, the length of the name of its type
    (u8), that name as in safetensors ("F16", "I8", …), the number of dimensions (u8), each of them (u64), and
    its elements in row-major order.

    Examples
    --------
    >>> import numpy as np
    >>> model_id({"a": np.zeros(2, np.float32)}).hex()
    'cc8c68ba6820a3f3'
    """
    digest = hashlib.sha256()
    for name in sorted(tensors, key=str.encode):
        if name.startswith((ENCODER, PREVIEW)):
            continue
        tensor = tensors[name]
        type_name = _TYPE_NAMES[tensor.dtype.name].encode()
        encoded = name.encode()
        digest.update(struct.pack("<I", len(encoded)) + encoded)
        digest.update(bytes([len(type_name)]) + type_name + bytes([tensor.ndim]))
        digest.update(struct.pack(f"<{tensor.ndim}Q", *tensor.shape))
        digest.update(np.ascontiguousarray(tensor, tensor.dtype.newbyteorder("<")).data)
    return digest.digest()[:ID_BYTES]


def user_folder() -> Path:
    """Return the folder to which ``codec models add`` copies."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "siglum" / "models"


def search_path() -> list[Path]:
    """Return the folders in which models are looked for, the first has precedence."""
    listed = [Path(entry) for entry in os.environ.get("SIGLUM_MODELS", "").split(os.pathsep) if entry]
    return [PACKAGE_FOLDER, *listed, user_folder()]


def catalogue() -> list[Model]:
    """Return all installed models in the order of the search path.

    Of models of the same codec and name only the first is listed. Files that are no models are passed over
    with a ``ModelWarning``. The ids are those of the cards: they are verified when the weights are loaded.
    """
    models: dict[tuple[str, str], Model] = {}
    for model in _installed():
        models.setdefault((model.codec, model.name), model)
    return list(models.values())


def find(identifier: bytes) -> Model:
    """Return the installed model that a file names by its eight bytes.

    Raises
    ------
    UnknownModel
        If there is none.
    """
    # Not from the catalogue: a model whose name is taken by another must still decode its files.
    for model in _installed():
        if model.id == identifier.hex():
            return model
    raise UnknownModel(
        f"the file needs the model {identifier.hex()}, which is not installed; "
        "get its weights from whoever made the file, then: codec models add FILE"
    )


def find_for(identifier: bytes, codec: str) -> Model:
    """Return the installed model of a codec that a file names by its eight bytes.

    Raises
    ------
    UnknownModel
        If there is none, or it is another codec's.
    """
    model = find(identifier)
    if model.codec != codec:
        raise UnknownModel(
            f"the file names the model {model.name!r}, which is for {model.codec}, not for {codec}"
        )
    return model


def named(name: str, codec: str) -> Model:
    """Return the installed model of a codec that is called ``name``.

    Raises
    ------
    UnknownModel
        If there is none; the message lists those that there are.
    """
    models = {model.name: model for model in catalogue() if model.codec == codec}
    if name not in models:
        known = ", ".join(models) or "none is installed"
        raise UnknownModel(f"no model {name!r} for the codec {codec!r}; there are: {known}")
    return models[name]


def load(model: Model) -> dict[str, NDArray[Any]]:
    """Return the tensors of a model, after verifying that they are those of its id.

    Raises
    ------
    UnknownModel
        If the file is damaged or holds other weights than its card says.
    """
    try:
        tensors = _read_tensors(model.path)
    except UnsupportedInputError as error:
        raise UnknownModel(f"{error}; install the model {model.name!r} again") from error
    if model_id(tensors).hex() != model.id:
        raise UnknownModel(f"{model.path} holds other weights than its card says; install it again")
    return tensors


def below(tensors: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    """Return the tensors whose names begin with a prefix, by what follows it."""
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}


def write(tensors: Mapping[str, NDArray[Any]], path: Path, card: Mapping[str, Any]) -> bytes:
    """Write weights and their card, to which the id is added; return the id."""
    from safetensors.numpy import save_file

    identifier = model_id(tensors)
    save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, path)
    text = json.dumps({**card, "id": identifier.hex()}, indent=1, ensure_ascii=False)
    path.with_suffix(".json").write_text(text + "\n")
    return identifier


def add(path: str | Path, force: bool = False) -> Model:
    """Copy a safetensors file and its card (same name, ``.json``) to the user's folder, if they are valid.

    Raises
    ------
    UnsupportedInputError
        If the file is no safetensors, or the card lacks a field or is for other weights.
    UsageError
        If another model of the name is installed already and ``force`` is not given.
    """
    path = Path(path)
    tensors = _read_tensors(path)
    card = _read_card(path.with_suffix(".json"))
    identifier = model_id(tensors).hex()
    if card.get("id", identifier) != identifier:
        raise UnsupportedInputError(
            f"{path}: the card is for the weights {card['id']}, these are {identifier}"
        )
    card["id"] = identifier
    _check_fits(card["codec"], tensors, identifier)
    for other in catalogue():
        if (
            (other.codec, other.name) == (card["codec"], card["name"])
            and other.id != identifier
            and not force
        ):
            raise UsageError(
                f"there is another model {other.name!r} in {other.path.parent}; "
                "change the name in the card, or use --force"
            )
    folder = user_folder()
    folder.mkdir(parents=True, exist_ok=True)
    # Named by its id, so that two models never overwrite each other.
    target = folder / f"{card['codec']}-{identifier}.safetensors"
    with path.open("rb") as source:
        _copy(source, target)
    # The card last: without one, the weights are not a model yet.
    _copy(json.dumps(card, indent=2, ensure_ascii=False).encode() + b"\n", target.with_suffix(".json"))
    return _model(target, card)


def _check_fits(codec: str, tensors: Mapping[str, NDArray[Any]], identifier: str) -> None:
    """Let the codec, if it is installed, object to tensors that are no model of it."""
    from siglum.codecs import CODECS

    if codec not in CODECS:
        raise UnsupportedInputError(f"the model is for the codec {codec!r}, which is not installed")
    check = getattr(CODECS.find(codec), "check_weights", None)
    if check is not None:
        check(tensors, bytes.fromhex(identifier))


def _installed() -> Iterator[Model]:
    for folder in search_path():
        for path in sorted(folder.glob("*.safetensors")) if folder.is_dir() else []:
            try:
                card = _read_card(path.with_suffix(".json"))
                if not isinstance(card.get("id"), str):
                    raise UnsupportedInputError(f"{path}: its card lacks the field 'id'")
                yield _model(path, card)
            except (SiglumError, OSError) as error:
                warnings.warn(f"{error}; passed over", ModelWarning, stacklevel=3)


def _model(path: Path, card: dict[str, Any]) -> Model:
    size = path.stat().st_size
    return Model(card["name"], card["codec"], card["id"], size, card["licence"], path, card)


def _read_card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise UnsupportedInputError(
            f"{path}: a model needs a card of this name beside its weights"
        ) from error
    except ValueError as error:
        raise UnsupportedInputError(f"{path}: the card is no valid JSON") from error
    for name in REQUIRED_FIELDS:
        if not isinstance(card, dict) or not isinstance(card.get(name), str) or not card[name]:
            raise UnsupportedInputError(f"{path}: the card lacks the field {name!r} (a text)")
    for name in ("name", "codec"):  # they become parts of file names and are printed
        if not _PLAIN.fullmatch(card[name]):
            raise UnsupportedInputError(f"{path}: the card's {name} must be of a-z 0-9 . _ - (at most 64)")
    return card


def _read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    with path.open("rb") as file:  # for the system's own error, if it cannot be read
        if path.suffix != ".safetensors" or len(file.read(8)) < 8:
            raise UnsupportedInputError(f"{path}: weights must be in a .safetensors file")
    try:
        tensors = load_file(path)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UnsupportedInputError(f"{path}: no valid safetensors file ({error})") from error
    strange = {tensor.dtype.name for tensor in tensors.values()} - set(_TYPE_NAMES)
    if strange or not tensors:
        raise UnsupportedInputError(f"{path}: holds {'types that NumPy lacks' if strange else 'no tensors'}")
    return tensors


def _copy(source: Any, target: Path) -> None:
    """Write a file's or the given content beside the target and move it there when it is whole."""
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as file:
        try:
            if isinstance(source, bytes):
                file.write(source)
            else:
                shutil.copyfileobj(source, file)
            file.flush()
            Path(file.name).chmod(0o644)
            Path(file.name).replace(target)
        except BaseException:
            Path(file.name).unlink()
            raise
