"""What the commands that train have in common."""

from __future__ import annotations

import sys
from pathlib import Path

from siglum.cli.output import complain
from siglum.errors import UsageError, require_torch


def check_folder(data: str, kind: str = "pictures") -> None:
    """Raise `UsageError` unless there is such a folder."""
    if not Path(data).is_dir():
        raise UsageError(f"{data} is no folder; --data names one with {kind} to learn from")


def check_new(checkpoint: Path, resume: bool) -> None:
    """Raise `UsageError` if a run is there already and is not to go on."""
    if checkpoint.exists() and not resume:
        raise UsageError(
            f"{checkpoint.parent} holds a run already: --resume goes on with it, another --out starts anew"
        )


def begin_torch(threads: int | None) -> None:
    """Check that torch is there, and set its threads."""
    require_torch("training")
    import torch

    if threads is not None:
        torch.set_num_threads(threads)


def training_log(line: object) -> None:
    """Say how the training goes, on stderr."""
    complain(str(line), "train: ")


def typed() -> str:
    """What was typed, for the card of a model."""
    return " ".join(["codec", *sys.argv[1:]])
