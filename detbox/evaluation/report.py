"""What the last validation of a run got wrong, written into its folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from detbox.evaluation import tables
from detbox.evaluation.callback import is_limited
from detbox.evaluation.coco import CocoEvaluator
from detbox.evaluation.curves import best_threshold, curves
from detbox.evaluation.mistakes import Mistakes, confusion, mistakes
from detbox.evaluation.pairing import Paired, pair
from detbox.evaluation.worst import write_worst
from detbox.figures import Figures

logger = logging.getLogger("detbox")

CURVES, CONFUSION, WORST = "pr_curves", "confusion_matrix", "worst"


class MistakeReport(Callback):
    """Write curves, confusions and worst pictures when a run ends, a fit or a validation alone.

    They are of the validation that `detections.json` is of. What fails is said, and nothing ends
    for it; a run that is stopped writes none.

    Args:
        evaluator: that has collected the detections.
        folder: of the run.
        figures: of the run; knows whether there was a validation, and is told what was written.
        worst: how many pictures.
    """

    def __init__(
        self, evaluator: CocoEvaluator, folder: Path, figures: Figures, worst: int = 0
    ) -> None:
        self.evaluator = evaluator
        self.folder = folder
        self.figures = figures
        self.worst = worst

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write, on one process."""
        if not trainer.is_global_zero or self.figures.last is None:
            return
        self.figures.written.clear()
        found, truth = self.evaluator.columns(seen_only=is_limited(trainer))
        paired = pair(found, truth)
        of = mistakes(paired, truth, best_threshold(paired, truth))
        pictures = getattr(trainer.datamodule, "pictures", None)  # type: ignore[attr-defined]
        with _told(f"{CURVES} and {CONFUSION}"):
            self._write(paired, of)
        if self.worst and pictures is not None:
            with _told(WORST):
                split, folder = self.evaluator.split, self.folder / WORST
                files = write_worst(folder, of, split, self.worst, pictures)
                self.figures.written[WORST] = files

    def _write(self, paired: Paired, of: Mistakes) -> None:
        space = self.evaluator.split.label_space
        named = dict(sorted(zip(space.category_ids, space.names, strict=True)))
        categories, names = list(named), list(named.values())
        shown = tables.drawable(names, categories)
        every, matrix = curves(paired, of.truth, categories), confusion(of, categories)
        table, picture = self._files(CURVES)
        tables.write_curves(table, every, names)
        tables.draw_curves(picture, every, shown)
        table, picture = self._files(CONFUSION)
        tables.write_confusion(table, matrix, names)
        tables.draw_confusion(picture, matrix, shown, of.threshold)

    def _files(self, name: str) -> list[Path]:
        files = [self.folder / f"{name}.csv", self.folder / f"{name}.png"]
        self.figures.written[name] = files
        return files


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Say what fails, and go on."""
    try:
        yield
    except Exception as error:  # of many kinds: no disk, a font, a package that is missing
        logger.warning("%s cannot be written: %s", what, error)
