"""Checkpoint files that are whole whenever they exist."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch.plugins.io import TorchCheckpointIO

from detbox.pickles import write_whole
from detbox.runfile import BEST, SLIM, weights_alone


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write files that are whole whenever they exist, and the weights of the best one alone.

    Lightning writes to the system's folder for temporary files; where that is on another disk, the
    file is then copied over the old one, and a run that is killed meanwhile leaves neither.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Save to a local file.

        Raises:
            TypeError: storage options, which only remote files have.
        """
        if storage_options is not None:
            raise TypeError("expected no storage_options: checkpoints are local files; leave them")
        target = Path(path)
        write_whole(checkpoint, target)
        if target.name == BEST and "detbox" in checkpoint:
            write_whole(weights_alone(checkpoint), target.with_name(SLIM))
