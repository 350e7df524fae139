"""The evaluation callback inside real Lightning runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import LambdaCallback, ModelCheckpoint
from torch.utils.data import DataLoader

from detbox.annotations import Source, read_coco
from detbox.evaluation.beside import BesideEvaluation
from detbox.evaluation.callback import CocoEvaluation
from detbox.evaluation.coco import CocoEvaluator
from detbox.figures import Figures
from detbox.messages import counted
from detbox.structures import Batch, Detections, ImageBatch, LabelSpace, Targets

SPACE = LabelSpace(("cat", "dog"), (3, 5))
IMAGES = 4


class Guesser(LightningModule):
    """Finds the object of every image whose id is even."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def training_step(self, batch: Batch, batch_index: int) -> torch.Tensor:
        return self.weight.sum()

    def validation_step(  # type: ignore[override]
        self, batch: Batch, batch_index: int
    ) -> list[Detections]:
        return [self._guess(image_id) for image_id in batch.image_ids]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def _guess(self, image_id: int) -> Detections:
        left = 0.0 if image_id % 2 == 0 else 50.0
        box = torch.tensor([[left, 0.0, left + 10, 10.0]], device=self.device)
        return Detections(box, self.weight.detach(), torch.zeros(1, dtype=torch.int64))


def collate(image_ids: list[int]) -> Batch:
    size = len(image_ids)
    images = ImageBatch(torch.zeros(size, 3, 2, 2), torch.zeros(size, 2, 2, dtype=torch.bool))
    targets = Targets(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4), (0,) * size)
    return Batch(images, targets, tuple(image_ids), torch.full((size, 2), 100))


def loader() -> DataLoader:
    return DataLoader(list(range(IMAGES)), batch_size=1, collate_fn=collate)  # type: ignore[arg-type]


def callback(folder: Path) -> CocoEvaluation:
    boxes = [{"image_id": i, "category_id": 3, "bbox": [0, 0, 10, 10]} for i in range(IMAGES)]
    categories = [{"id": 3, "name": "cat"}, {"id": 5, "name": "dog"}]
    size = {"width": 64, "height": 64}
    images = [{"id": i, "file_name": f"{i}.jpg", **size} for i in range(IMAGES)]
    path = folder / "annotations.json"
    path.write_text(json.dumps({"images": images, "categories": categories, "annotations": boxes}))
    evaluator = CocoEvaluator(read_coco(Source(folder, path)), SPACE)
    return CocoEvaluation(evaluator, folder / "run", Figures())


def trainer(folder: Path, *callbacks: Any, **settings: Any) -> Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    common = {"accelerator": "cpu", "max_epochs": 2, "limit_train_batches": 1, **quiet}
    return Trainer(default_root_dir=folder, callbacks=list(callbacks), **{**common, **settings})


class AllFound:
    """Finds every object."""

    def detect(self, batch: Batch) -> list[Detections]:
        box = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
        found = Detections(box, torch.ones(1), torch.zeros(1, dtype=torch.int64))
        return [found] * len(batch.image_ids)


@pytest.mark.parametrize("judged", [AllFound(), None])
def test_other_weights_are_judged_in_the_same_validation(
    judged: AllFound | None, tmp_path: Path
) -> None:
    first = callback(tmp_path)
    evaluator = CocoEvaluator(first.evaluator.split, SPACE)
    beside = BesideEvaluation(evaluator, "val_raw", lambda: judged)
    fit = trainer(tmp_path, first, beside, enable_checkpointing=False)
    fit.fit(Guesser(), loader(), loader())
    ours, theirs = (float(fit.callback_metrics[f"{name}/AR100"]) for name in ("val", "val_raw"))
    assert (ours, theirs) == (0.5, 1.0 if judged else 0.5)
    assert len(json.loads((tmp_path / "run" / "detections.json").read_text())) == IMAGES
    assert not {
        name for name in fit.validate(Guesser(), loader(), verbose=False)[0] if "raw" in name
    }


def test_the_last_epoch_is_judged_though_it_is_no_multiple(tmp_path: Path) -> None:
    judged: list[int] = []
    every = LambdaCallback(on_validation_end=lambda t, _: judged.append(t.current_epoch))
    settings = {"max_epochs": 5, "check_val_every_n_epoch": 2, "num_sanity_val_steps": 0}
    trainer(tmp_path, callback(tmp_path), every, **settings).fit(Guesser(), loader(), loader())
    assert judged == [1, 3, 4]


def test_weights_at_which_the_steps_end_are_judged_and_kept(tmp_path: Path) -> None:
    best = ModelCheckpoint(tmp_path / "best", monitor="val/AP", mode="max")
    settings = {"max_epochs": -1, "max_steps": 2, "limit_train_batches": 1.0}
    steps = {"check_val_every_n_epoch": 5, "num_sanity_val_steps": 0}
    trainer(tmp_path, callback(tmp_path), best, **settings, **steps).fit(
        Guesser(), loader(), loader()
    )
    assert best.best_model_path.endswith("step=2.ckpt")


pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")


def test_figures_are_logged_and_a_checkpoint_may_watch_them(tmp_path: Path) -> None:
    evaluation = callback(tmp_path)
    best = ModelCheckpoint(tmp_path / "best", monitor="val/AP", mode="max")
    run = trainer(tmp_path, evaluation, best)
    run.fit(Guesser(), loader(), loader())
    assert evaluation.figures.last is not None
    assert evaluation.figures.last.images == IMAGES
    for name, value in evaluation.figures.last.scalars().items():
        assert run.callback_metrics[f"val/{name}"].item() == pytest.approx(value)
    assert best.best_model_score == pytest.approx(evaluation.figures.last.AP)
    assert evaluation.figures.last.AR100 == 0.5


def test_the_last_detections_are_written_after_a_fit(tmp_path: Path) -> None:
    evaluation = callback(tmp_path)
    trainer(tmp_path, evaluation, enable_checkpointing=False).fit(Guesser(), loader(), loader())
    written = json.loads((tmp_path / "run/detections.json").read_text())
    assert written == evaluation.evaluator.results()
    assert [entry["image_id"] for entry in written] == list(range(IMAGES))


def test_a_validation_alone_gives_the_same(tmp_path: Path) -> None:
    evaluation = callback(tmp_path)
    (logged,) = trainer(tmp_path, evaluation).validate(Guesser(), loader(), verbose=False)
    assert logged["val/AR100"] == pytest.approx(0.5)
    assert (tmp_path / "run/detections.json").is_file()


def test_a_sanity_check_logs_nothing(tmp_path: Path) -> None:
    evaluation = callback(tmp_path)
    run = trainer(tmp_path, evaluation, enable_checkpointing=False, max_epochs=0)
    run.fit(Guesser(), loader(), loader())
    assert evaluation.figures.last is None
    assert not run.callback_metrics
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("limit", [1, 0.5])
def test_a_limited_run_scores_what_it_saw_and_says_so(
    tmp_path: Path, limit: float, caplog: pytest.LogCaptureFixture
) -> None:
    evaluation = callback(tmp_path)
    run = trainer(tmp_path, evaluation, limit_val_batches=limit)
    images = 1 if limit == 1 else 2
    run.validate(Guesser(), loader(), verbose=False)
    assert f"of this split, {counted(images, 'image')} scored" in caplog.text
    assert evaluation.figures.last is not None
    assert evaluation.figures.last.images == images


@pytest.mark.slow
def test_two_processes_give_the_figures_of_one(tmp_path: Path) -> None:
    alone = callback(tmp_path)
    trainer(tmp_path, alone).validate(Guesser(), loader(), verbose=False)
    both = callback(tmp_path)
    run = trainer(tmp_path, both, strategy="ddp_spawn", devices=2)
    (logged,) = run.validate(Guesser(), loader(), verbose=False)
    assert alone.figures.last is not None
    assert logged["val/AP"] == pytest.approx(alone.figures.last.AP)
    written = json.loads((tmp_path / "run/detections.json").read_text())
    assert [entry["image_id"] for entry in written] == list(range(IMAGES))
