"""Checkpoint files that are whole whenever they exist."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write beside the target and rename, which a file system does at once or not at all.

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
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"{target.name}.tmp")
        try:
            torch.save(checkpoint, partial)
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)
