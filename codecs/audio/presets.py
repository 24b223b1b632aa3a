"""Sizes of the audio models."""

from __future__ import annotations

from dataclasses import dataclass

from siglum.codecs.audio.constants import HOPS


@dataclass(frozen=True)
class Preset:
    """Sizes of a model.

    Attributes
    ----------
    rate
        Samples a second.
    hop
        Samples of a hop; a frame has two, a window four.
    layout
        Group of each code, in the order in which codes stand; by default all groups take turns. A stage is as many
        codes as there are groups, whichever they are.
    """

    rate: int
    hop: int
    latent: int
    groups: int
    stages: int
    codewords: int
    encoder_width: int
    encoder_blocks: int
    encoder_ahead: int  # blocks that look one frame ahead
    decoder_width: int
    decoder_blocks: int
    decoder_ahead: int
    expansion: int = 3
    noise_from: int = 4000  # Hz between which directions in the complex plane give way to random ones
    noise_to: int = 5000
    layout: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.layout:
            object.__setattr__(self, "layout", tuple(range(self.groups)) * self.stages)
        object.__setattr__(self, "layout", tuple(self.layout))
        if len(self.layout) != self.codes or set(self.layout[: self.groups]) != set(range(self.groups)):
            raise ValueError(f"{self.codes} codes do not have the groups {self.layout}")
        if not self.noise_from < self.noise_to:
            raise ValueError(f"noise cannot set in between {self.noise_from} and {self.noise_to} Hz")

    @property
    def frame(self) -> int:
        """Samples of a frame."""
        return HOPS * self.hop

    @property
    def window(self) -> int:
        """Samples of a window."""
        return 4 * self.hop

    @property
    def codes(self) -> int:
        """Codes of a frame that uses all stages."""
        return self.groups * self.stages

    @property
    def bins(self) -> int:
        """Frequencies of a spectrum."""
        return self.window // 2 + 1


PRESETS = {
    "speech": Preset(16000, 160, 128, 2, 6, 1024, 256, 6, 3, 320, 8, 4),
    "fullband": Preset(44100, 441, 192, 4, 12, 1024, 256, 6, 3, 320, 8, 4, noise_from=8000, noise_to=10000),
}
