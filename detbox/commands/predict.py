"""Draw and list what a checkpoint finds in pictures."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from detbox import ops
from detbox.build import build_data
from detbox.commands.dividing import as_in_run
from detbox.commands.table import register_command
from detbox.console.lines import say
from detbox.data.sources import find_images
from detbox.messages import counted
from detbox.predicting import predict_to_folder
from detbox.predictor import load
from detbox.ranges import Share
from detbox.runfile import RunCheckpoint


@register_command("predict", paths=("ckpt", "source"))
def predict(
    cfg: DictConfig,
    folder: Path,
    *,
    ckpt: str,
    source: str | None = None,
    threshold: Share = 0.3,
    device: str = "auto",
) -> None:
    """Draw and list what a checkpoint finds in a file, a folder or a glob.

    Args:
        cfg: `op`.
        folder: where pictures and `predictions.json` go.
        ckpt: a run folder or a file in it.
        source: file, folder or quoted glob; None: the first validation pictures of the data that
            the checkpoint was trained on.
        threshold: lowest score that is shown.
        device: auto, cpu, cuda or mps.

    Raises:
        ValueError, FileNotFoundError: no such checkpoint, or no picture to read.
    """
    ops.configure(cfg.op)
    checkpoint = RunCheckpoint.read(ckpt)
    sources = _validation_images(checkpoint) if source is None else find_images(source)
    say(f"{checkpoint.path}: {checkpoint.weights}")
    written = predict_to_folder(load(ckpt, device), sources, folder, threshold)
    told = counted(len(written.pictures), "picture")
    say(f"{told} and {written.predictions.name} in {folder}")


def _validation_images(checkpoint: RunCheckpoint, count: int = 16) -> list[Path]:
    return build_data(as_in_run(checkpoint.recipe, checkpoint)).val.paths(count)
