"""The float networks of the image codec in torch: on a GPU if there is one, and to check the compiled ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from siglum.codecs.image.constants import HYPER_FACTOR, PATCH
from siglum.codecs.image.transform import ImageModel, Preset
from siglum.errors import UnknownModel

Floats = NDArray[np.float32]


def make_model(tensors: Mapping[str, NDArray[Any]], preset: Mapping[str, int]) -> ImageModel:
    """The networks with their weights, for evaluation.

    Raises
    ------
    UnknownModel
        If the tensors are not those of the preset.
    """
    state = {name: torch.from_numpy(np.array(array, np.float32)) for name, array in tensors.items()}
    try:
        model = ImageModel(Preset(**preset))
        model.load_state_dict(state)
    except (RuntimeError, TypeError) as error:
        first = str(error).splitlines()[0]
        raise UnknownModel(f"the model is not of its preset ({first}); install it again") from error
    return model.eval()


class TorchEngine:
    """Runs one model in torch.

    Parameters
    ----------
    model
        On the CPU; it is moved.
    device
        None: CUDA if there is any, else the CPU.
    """

    def __init__(self, model: ImageModel, device: str | None = None) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._model = model.to(self.device)

    def analyse(
        self, pixels: NDArray[np.uint8], level: int, out: Floats, top: int, left: int, threads: int
    ) -> None:
        """See `Engine.analyse`."""
        with self._running(threads):
            x = self._tensor(_continued(pixels, PATCH)).float() / 255.0
            y = self._model.scaled(self._model.analysis(x, self._level(level)), self._level(level))
            out[...] = y[0, top : top + out.shape[0], left : left + out.shape[1]].cpu().numpy()

    def hyper_analyse(self, y: Floats, level: int, threads: int) -> Floats:
        """See `Engine.hyper_analyse`."""
        with self._running(threads):
            z = self._model.hyper_analysis(self._tensor(_continued(y, HYPER_FACTOR)), self._level(level))
            result: Floats = z[0].cpu().numpy()
        return result

    def synthesise(
        self, y: Floats, level: int, out: NDArray[np.uint8], top: int, left: int, threads: int
    ) -> None:
        """See `Engine.synthesise`."""
        with self._running(threads):
            natural = self._model.unscaled(self._tensor(y), self._level(level))
            x = self._model.synthesis(natural, self._level(level))[0]
            part = x[top : top + out.shape[0], left : left + out.shape[1]]
            out[...] = torch.round(torch.clamp(part, 0.0, 1.0) * 255.0).to(torch.uint8).cpu().numpy()

    def synthesise_scaled(
        self,
        y: Floats,
        level: int,
        out: NDArray[np.uint8],
        top: int,
        left: int,
        threads: int,
        factor: int,
    ) -> None:
        """See `Engine.synthesise_scaled`; here the means of all pixels."""
        with self._running(threads):
            natural = self._model.unscaled(self._tensor(y), self._level(level))
            x = self._model.synthesis(natural, self._level(level)).permute(0, 3, 1, 2)
            means = torch.nn.functional.avg_pool2d(x, factor)[0].permute(1, 2, 0)
            part = means[top : top + out.shape[0], left : left + out.shape[1]]
            out[...] = torch.round(torch.clamp(part, 0.0, 1.0) * 255.0).to(torch.uint8).cpu().numpy()

    def analyse_batch(self, pictures: NDArray[np.uint8], level: int, threads: int) -> Floats:
        """(B, H, W, 3) uint8 -> (B, ceil(H/16), ceil(W/16), latent) float32 in steps."""
        with self._running(threads):
            x = torch.from_numpy(np.stack([_continued(picture, PATCH) for picture in pictures]))
            y = self._model.analysis(x.to(self.device).float() / 255.0, self._level(level))
            result: Floats = self._model.scaled(y, self._level(level)).cpu().numpy()
        return result

    def synthesise_batch(self, y: Floats, level: int, threads: int) -> NDArray[np.uint8]:
        """(B, h, w, latent) float32 in steps -> (B, 16h, 16w, 3) uint8."""
        with self._running(threads):
            natural = self._model.unscaled(torch.from_numpy(y).to(self.device), self._level(level))
            x = self._model.synthesis(natural, self._level(level))
            return torch.round(torch.clamp(x, 0.0, 1.0) * 255.0).to(torch.uint8).cpu().numpy()

    def _tensor(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(np.array(array))[None].to(self.device)

    def _level(self, level: int) -> torch.Tensor:
        return torch.full((1,), float(level), device=self.device)

    @contextmanager
    def _running(self, threads: int) -> Iterator[None]:
        with torch_threads(threads), torch.inference_mode():
            yield


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """So many threads for torch, for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _continued(x: NDArray[Any], multiple: int) -> NDArray[Any]:
    """(H, W, C) with sides continued to a multiple by repeating the edge."""
    return np.pad(x, ((0, -x.shape[0] % multiple), (0, -x.shape[1] % multiple), (0, 0)), mode="edge")
