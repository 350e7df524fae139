"""What a black box leaves: one file from which the first bad step can be computed again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from detbox.errors import CheckpointError, MissingFileError
from detbox.guards.readings import Reading
from detbox.pickles import read_safely, write_whole
from detbox.places import located
from detbox.runfile import PREFIX, RunCheckpoint, run_header
from detbox.structures import Batch, ImageBatch, StepObjects, Targets

FORMAT = 1
"""counts changes that older readers do not understand"""
NAME = "black_box.pt"
KEY = "black_box"


@dataclass(frozen=True)
class MicroBatch:
    """One of the batches that a step learns from, and the random numbers that it met."""

    batch: Batch
    draws: dict[str, Any]

    def to(self, device: torch.device) -> MicroBatch:
        """The same on another device."""
        images, targets, ids, sizes, step = self.batch
        labels, boxes = targets.labels.to(device), targets.boxes.to(device)
        moved = ImageBatch(*(each.to(device) for each in images))
        batch = Batch(moved, Targets(labels, boxes, targets.counts), ids, sizes.to(device), step)
        return MicroBatch(batch, self.draws)

    def to_dict(self) -> dict[str, Any]:
        """Tensors and plain containers."""
        images, targets, ids, sizes, step = self.batch
        return {
            "images": dict(images._asdict()),
            "targets": dict(targets._asdict()),
            "image_ids": ids,
            "sizes": sizes,
            "step": None if step is None else tuple(step),
            "draws": self.draws,
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> MicroBatch:
        """Inverse of `to_dict`."""
        batch = Batch(
            ImageBatch(**stored["images"]),
            Targets(**stored["targets"]),
            stored["image_ids"],
            stored["sizes"],
            None if stored["step"] is None else StepObjects(*stored["step"]),
        )
        return cls(batch, stored["draws"])


@dataclass(frozen=True)
class Bundle:
    """A step as it stood before its forward pass, and what was found in it."""

    step: int
    """optimizer step, counted from 1"""
    epoch: int
    """counted from 1"""
    rank: int
    precision: str
    scale: float
    """of the loss, as fp16 has it"""
    what: str
    """`loss` or `gradient`: what was the first not to be finite"""
    batches: tuple[MicroBatch, ...]
    """the one that is bad, or all of the step where none is by itself"""
    first: Reading | None
    checkpoint: RunCheckpoint
    """configuration, classes and weights"""

    def write(self, path: Path) -> None:
        """Write a file that is whole whenever it exists."""
        own = {
            "format": FORMAT,
            **{key: getattr(self, key) for key in _PLAIN},
            "batches": [each.to_dict() for each in self.batches],
            "first": None if self.first is None else tuple(self.first),
        }
        run = self.checkpoint
        state = {PREFIX + name: each for name, each in run.detector.items()}
        header = run_header(run.config, run.label_space)
        write_whole({"state_dict": state, "detbox": header, KEY: own}, path)

    @classmethod
    def read(cls, path: str | Path) -> Bundle:
        """Read a file, or that of a run folder.

        Raises:
            MissingFileError: there is none.
            CheckpointError: it is something else, or of a newer detbox.
        """
        given = located(path)
        file = given / NAME if given.is_dir() else given
        if not file.is_file():
            raise MissingFileError(
                f"there is no {file}; a run leaves {NAME} in its folder when a loss or a gradient "
                "is not finite: give the folder or the file"
            )
        content = read_safely(file)
        if not isinstance(content, dict) or KEY not in content:
            raise CheckpointError(f"{file} is no black box of a run; give the {NAME} of its folder")
        own = content[KEY]
        if own["format"] > FORMAT:
            raise CheckpointError(
                f"{file} is a black box of format {own['format']}, this detbox reads up to "
                f"{FORMAT}; update it"
            )
        return cls(
            **{key: own[key] for key in _PLAIN},
            batches=tuple(map(MicroBatch.from_dict, own["batches"])),
            first=None if own["first"] is None else Reading(*own["first"]),
            checkpoint=RunCheckpoint.of(content, file),
        )


_PLAIN = ("step", "epoch", "rank", "precision", "scale", "what")
