"""The checkpoint of the best validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint

from detbox.runfile import BEST


class BestCheckpoint(ModelCheckpoint):
    """Keep `best.ckpt` by `val/AP`; its score belongs to the folder, wherever that was moved.

    Args:
        folder: of the checkpoints.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(
            folder,
            Path(BEST).stem,
            "val/AP",
            mode="max",
            enable_version_counter=False,
            # Else at the epoch's end, behind `last.ckpt`: a kill between would lose the best one.
            save_on_train_epoch_end=False,
        )

    @property
    def state_key(self) -> str:
        """That of Lightning's own, by which files of before have it."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As a checkpoint left it, where the best one is here; another folder counts its own."""
        here = Path(str(self.dirpath))
        if (here / BEST).is_file():
            super().load_state_dict(_moved(state_dict, here))


def _moved(state: dict[str, Any], folder: Path) -> dict[str, Any]:
    def place(path: str) -> str:
        return str(folder / Path(path).name) if path else path

    paths = {name: place(state[name]) for name in state if name.endswith("_path")}
    scores = {place(path): score for path, score in state["best_k_models"].items()}
    return {**state, **paths, "best_k_models": scores, "dirpath": str(folder)}
