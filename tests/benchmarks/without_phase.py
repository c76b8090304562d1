"""MT-SLVR's front end without its phase channel, for the study of short sounds."""

from torch import Tensor

from slvr.pipeline.frontends.mtslvr import MTSLVR


class WithoutPhase(MTSLVR):
    """(B, T) waveforms at 16 kHz -> (B, 2, M, L): log-mel power and log magnitude."""

    NAME = "without-phase"
    channels = 2

    def images(self, spectra: Tensor) -> Tensor:
        """(B, L, F) complex spectra through a rectangular window -> (B, 2, M, L)."""
        return super().images(spectra)[:, :2].contiguous()
