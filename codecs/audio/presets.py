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
    "fullband": Preset(44100, 441, 192, 4, 12, 1024, 256, 6, 3, 320, 8, 4),
}
