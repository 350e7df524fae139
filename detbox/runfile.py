"""A run's file: what a training leaves, as one type that is read safely and kept for ever."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from detbox.errors import CheckpointError, MissingFileError
from detbox.messages import counted, taken_literally, typed
from detbox.misfit import misfit
from detbox.pickles import read_safely, write_whole
from detbox.places import located
from detbox.structures import LabelSpace

FORMAT = 1
"""counts changes that older readers do not understand; a file without the number is of the first"""
BEST, SLIM, LAST = "best.ckpt", "best_weights.ckpt", "last.ckpt"
"""in `checkpoints/` of a run folder: best by AP, its weights alone, and where to go on"""
TO_USE, TO_RESUME = (BEST, SLIM, LAST), (LAST,)
"""which file of a run folder is meant, the first that is there"""
EACH_TIME = ("ckpt", "init", "resume", "objective", "op", "plugins")
"""settings that belong to a start, not to the run"""
AVERAGED = "averaged"
"""in what a file says of itself, where its weights are a moving average"""
PREFIX = "detector."
"""of the detector's tensors in a file, as the LightningModule names them"""


@dataclass(frozen=True)
class RunCheckpoint:
    """What a run's file holds."""

    config: dict[str, Any]
    """resolved, as plain containers"""
    label_space: LabelSpace
    detector: Mapping[str, Tensor]
    """state dict of the detector"""
    trainer: Mapping[str, Any] | None = None
    """what Lightning needs to go on; None: the file holds weights alone"""
    path: Path | None = None
    """where it was read, for messages"""
    format: int = FORMAT
    detbox: str = field(default_factory=lambda: version("detbox"))
    """version that wrote it"""
    averaged: int = 0
    """updates of the moving average that the detector's tensors are; 0: they are as trained"""

    @classmethod
    def read(cls, path: str | Path, names: tuple[str, ...] = TO_USE) -> RunCheckpoint:
        """Read a file, or the one that is meant by a run folder; nothing in it is executed.

        Args:
            path: a file or a run folder.
            names: of the files that a run folder may stand for, the first that is there.

        Raises:
            MissingFileError: there is no such file.
            CheckpointError: it is no checkpoint of detbox, or of a newer one.
        """
        file = run_file(path, names)
        return cls.of(read_safely(file, mapped=True), file)

    @classmethod
    def of(cls, content: Any, path: Path) -> RunCheckpoint:
        """From the content of a file.

        Raises:
            CheckpointError: it is no checkpoint of detbox, or of a newer one.
        """
        missing = {"detbox", "state_dict"} - set(content if isinstance(content, dict) else ())
        if missing:
            raise CheckpointError(
                f"{path} is no detbox checkpoint: it lacks {sorted(missing)}; train from an "
                f"official file with {typed('init', str(path))}, or convert it: python "
                f"tools/convert_checkpoint.py {typed('source', str(path))} target=NEW.ckpt "
                "model=MODEL backbone=BACKBONE"
            )
        header, state = content["detbox"], content["state_dict"]
        if header.get("format", 1) > FORMAT:
            raise CheckpointError(
                f"{path} has format {header['format']}, written by detbox {header.get('version')}; "
                f"this detbox {version('detbox')} reads up to {FORMAT}; update it"
            )
        rest = {key: value for key, value in content.items() if key not in ("detbox", "state_dict")}
        return cls(
            header["config"],
            LabelSpace.from_dict(header["label_space"]),
            {n.removeprefix(PREFIX): each for n, each in state.items() if n.startswith(PREFIX)},
            rest if "optimizer_states" in rest else None,
            path,
            header.get("format", 1),
            header.get("version", "0.1.0"),
            header.get(AVERAGED, 0),
        )

    @property
    def step(self) -> int:
        """Optimizer steps that were done."""
        return int((self.trainer or {}).get("global_step", 0))

    @property
    def recipe(self) -> DictConfig:
        """The configuration to build from; all text in it is meant as it is."""
        config: DictConfig = OmegaConf.create(taken_literally(self.config))
        return config

    @property
    def weights(self) -> str:
        """Which weights the detector's tensors are."""
        if not self.averaged:
            return "weights as trained"
        return f"moving average of the weights (EMA) after {counted(self.averaged, 'update')}"

    @property
    def epochs(self) -> int:
        """Whole passes over the training split behind it."""
        return _epoch(self.trainer or {}) - 1

    @property
    def epoch_batches(self) -> int | None:
        """Batches that a process takes in the epoch that is under way; None: none is."""
        loop = (self.trainer or {}).get("loops", {}).get("fit_loop", {})
        progress = loop.get("epoch_loop.batch_progress", {})
        loaders = loop.get("state_dict", {}).get("combined_loader")
        within = progress.get("current", {}).get("ready") and not progress.get("is_last_batch")
        return int(loaders[0]["length"]) if loaders and within else None

    @property
    def place(self) -> str:
        """Where a resumed run goes on: epoch from 1, optimizer step, and the best AP so far."""
        trainer = self.trainer or {}
        told = f"epoch {_epoch(trainer)}, step {trainer.get('global_step', 0)}"
        states = (trainer.get("callbacks") or {}).values()
        scores = [each.get("best_model_score") for each in states if isinstance(each, Mapping)]
        best = [float(score) for score in scores if score is not None]
        return f"{told}, best AP {max(best):.3f}" if best else told

    def write(self, path: Path) -> None:
        """Write a file that is whole whenever it exists."""
        state = {PREFIX + name: tensor for name, tensor in self.detector.items()}
        header = run_header(self.config, self.label_space, self.averaged)
        write_whole({**(self.trainer or {}), "state_dict": state, "detbox": header}, path)

    def fill(self, detector: nn.Module) -> None:
        """Load the detector's tensors, strictly.

        Raises:
            CheckpointError: some are missing, left over or of another shape.
        """
        self.check(detector)
        detector.load_state_dict(dict(self.detector))

    def check(self, detector: nn.Module) -> None:
        """Refuse a detector that the tensors do not fit.

        Raises:
            CheckpointError: some are missing, left over or of another shape.
        """
        if fault := misfit(detector.state_dict(), self.detector):
            raise CheckpointError(
                f"{self.path or 'the checkpoint'} does not fit the detector of its configuration: "
                f"{fault}; it was written by detbox {self.detbox}, this is {version('detbox')}"
            )


def run_header(
    config: Mapping[str, Any], label_space: LabelSpace, averaged: int = 0
) -> dict[str, Any]:
    """What a file says of itself beside weights and trainer state, as plain containers."""
    return {
        **({AVERAGED: averaged} if averaged else {}),
        "format": FORMAT,
        "version": version("detbox"),
        "config": dict(config),
        "label_space": label_space.to_dict(),
    }


def weights_alone(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a run's file without the state of its trainer."""
    return {key: content[key] for key in ("state_dict", "detbox")}


def run_file(path: str | Path, names: tuple[str, ...] = TO_USE) -> Path:
    """The file that is meant by a path: itself, or one in `checkpoints/` of a run folder.

    Raises:
        MissingFileError: there is none.
    """
    given = located(path)
    if given.is_file():
        return given
    places = [folder / name for name in names for folder in (given / "checkpoints", given)]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        wanted = f"; the folder has no {' or '.join(names)}" if given.is_dir() else ""
        raise MissingFileError(
            f"no checkpoint at {given}{wanted}; training writes them to checkpoints/ in its run "
            "folder: give the folder or a file"
        )
    return found


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Keys and values of a configuration, `section.key`."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _epoch(trainer: Mapping[str, Any]) -> int:
    """The epoch to go on in, from 1: the next one behind the last batch of one."""
    try:
        loop = trainer["loops"]["fit_loop"]
        ended = bool(loop["epoch_loop.batch_progress"]["is_last_batch"])
        return int(loop["epoch_progress"]["current"]["ready"]) + ended
    except KeyError:  # of a file that another trainer wrote
        return int(trainer.get("epoch", 0)) + 1
