"""What the last validation of a run got wrong, written into its folder."""

from __future__ import annotations

import logging
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from detbox.evaluation import tables
from detbox.evaluation.callback import is_limited
from detbox.evaluation.coco import CocoEvaluator
from detbox.evaluation.curves import best_threshold, curves
from detbox.evaluation.mistakes import confusion, mistakes
from detbox.evaluation.pairing import pair
from detbox.figures import Figures

logger = logging.getLogger("detbox")

CURVES, CONFUSION = "pr_curves", "confusion_matrix"


class MistakeReport(Callback):
    """Write curves and confusions when a run ends, be it a fit or a validation alone.

    They are of the validation that `detections.json` is of. What fails is said, and nothing ends
    for it; a run that is stopped writes none.

    Args:
        evaluator: that has collected the detections.
        folder: of the run.
        figures: of the run; knows whether there was a validation, and is told what was written.
    """

    def __init__(self, evaluator: CocoEvaluator, folder: Path, figures: Figures) -> None:
        self.evaluator = evaluator
        self.folder = folder
        self.figures = figures

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write, on one process."""
        if not trainer.is_global_zero or self.figures.last is None:
            return
        try:
            self._write(seen_only=is_limited(trainer))
        except Exception as error:  # of many kinds: no disk, a font, a package that is missing
            logger.warning("curves and confusion matrix cannot be written: %s", error)

    def _write(self, *, seen_only: bool) -> None:
        self.figures.written.clear()
        space = self.evaluator.split.label_space
        named = dict(sorted(zip(space.category_ids, space.names, strict=True)))
        categories, names = list(named), list(named.values())
        found, truth = self.evaluator.columns(seen_only=seen_only)
        paired = pair(found, truth)
        threshold = best_threshold(paired, truth)
        every = curves(paired, truth, categories)
        matrix = confusion(mistakes(paired, truth, threshold), categories)
        table, picture = self._files(CURVES)
        tables.write_curves(table, every, names)
        shown = tables.drawable(names, categories)
        tables.draw_curves(picture, every, shown)
        table, picture = self._files(CONFUSION)
        tables.write_confusion(table, matrix, names)
        tables.draw_confusion(picture, matrix, shown, threshold)

    def _files(self, name: str) -> list[Path]:
        files = [self.folder / f"{name}.csv", self.folder / f"{name}.png"]
        self.figures.written[name] = files
        return files
