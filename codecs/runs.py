"""The end of a training run: its weights beside a card that says how they were made."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from numpy.typing import NDArray

import siglum
from siglum.codecs import models


class Run(Protocol):
    """What a card tells of a run."""

    out: Path
    step: int
    seconds: float
    data_note: str
    log: Callable[[str], None]


def write_model(
    run: Run,
    tensors: Mapping[str, NDArray[Any]],
    point: Callable[[dict[str, Any]], list[float]],
    *,
    name: str,
    codec: str,
    recipe: Mapping[str, Any],
    command: str,
) -> Path:
    """Write `model.safetensors` and its card to the folder of a run; returns the path.

    Parameters
    ----------
    point
        What the card keeps of a line of `curve.jsonl`.
    """
    path = run.out / "model.safetensors"
    curve = [json.loads(line) for line in (run.out / "curve.jsonl").read_text().splitlines()]
    card = {
        "name": name,
        "codec": codec,
        "licence": "Apache-2.0",
        "command": command,
        "data": run.data_note,
        "recipe": dict(recipe),
        "steps": run.step,
        "hours": round(run.seconds / 3600, 3),
        "torch": torch.__version__,
        "siglum": siglum.__version__,
        "validation": curve[-1]["validation"],
        "curve": [point(line) for line in curve],
    }
    identifier = models.write(tensors, path, card)
    run.log(f"{path}: model {identifier.hex()}; install it by: codec models add {path}")
    return path


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    torch.save(dict(state), temporary)
    temporary.replace(path)


def add_point(run: Run, rows: list[dict[str, float]]) -> None:
    """Add what validation gave to `curve.jsonl`."""
    line = {"step": run.step, "hours": round(run.seconds / 3600, 4), "validation": rows}
    with (run.out / "curve.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


def stages_and_scores(line: dict[str, Any]) -> list[float]:
    """Step, hours, and at each number of stages of validation PESQ, or without it the mel distance."""
    return [line["step"], line["hours"], *(row.get("pesq", row["mel"]) for row in line["validation"])]


def rate_and_psnr(line: dict[str, Any]) -> list[float]:
    """Step, hours, and the rate and PSNR of the second level of validation."""
    row = line["validation"][1]
    return [line["step"], line["hours"], row["bpp"], row["psnr"]]
