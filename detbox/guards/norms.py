"""Running statistics of batch norms, which a forward pass changes though no step is taken."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase


class NormStatistics:
    """Copies of the statistics of all norms that learn some, to go back to.

    Args:
        module: with the norms.
    """

    def __init__(self, module: nn.Module) -> None:
        norms = [each for each in module.modules() if isinstance(each, _NormBase)]
        self._live = [buffer for each in norms for buffer in each.buffers() if each.training]

    def copied(self) -> list[Tensor]:
        """The statistics of this moment; most detectors have none."""
        return [each.clone() for each in self._live]

    @torch.no_grad()
    def restore(self, copies: list[Tensor]) -> None:
        """Go back to copies."""
        for live, copy in zip(self._live, copies, strict=True):
            live.copy_(copy)
