"""What looks wrong in a training is said in the step in which it shows, once, and nothing else."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from tiny import MODEL
from torch import Tensor
from training_toys import SPACE, context, loader, trainer

from detbox.build import build_module, compose
from detbox.engine.seeding import SeedEveryStep
from detbox.errors import DivergedError
from detbox.guards.black_box import BlackBox
from detbox.guards.records import StepRecord, Window
from detbox.guards.rules import RULES, class_without_boxes
from detbox.guards.sights import Sight
from detbox.guards.warnings import Warnings
from detbox.structures import LabelSpace, Origin, Outputs, PredictionSet, Targets

NAMES = ("ant", "bee", "cat", "dog")
OK = StepRecord(terms={"loss": 9.0, "class": 1.0, "l1": 2.0}, objects=4, rate=1e-4, top=0.6)
EMPTY = OK._replace(objects=0, terms={"loss": 90.0, "class": 30.0, "l1": 0.0})


class Data(pl.LightningDataModule):
    """So many batches of an object each."""

    def __init__(self, batches: int) -> None:
        super().__init__()
        self.train_batches = batches

    def train_dataloader(self) -> Any:
        return loader(self.train_batches)

    def val_dataloader(self) -> Any:
        return loader(1)


def fit(folder: Path, *callbacks: pl.Callback, batches: int, settings: Sequence[str]) -> None:
    torch.manual_seed(0)
    module = build_module(compose(*MODEL, *settings), SPACE)
    trainer(folder, callbacks=[SeedEveryStep(0), *callbacks]).fit(module, datamodule=Data(batches))


def ours(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.name == "detbox"]


def told(name: str, records: Sequence[StepRecord], after: int = 100) -> str | None:
    """What a rule says after records that are numbered here."""
    steps = [each._replace(step=i, learnt=float(i)) for i, each in enumerate(records, start=1)]
    return RULES[name].check(Window(steps, NAMES, after))


def scored(top: float | None, term: float = 1.0) -> StepRecord:
    return OK._replace(top=top, terms={"class": term})


def taken(*pairs: tuple[int, int]) -> StepRecord:
    return OK._replace(pairs=pairs)


class Late(Warnings):
    """Reads a batch in the next one, as on a GPU."""

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Tensor) -> None:
        on_gpu = cast("Tensor", SimpleNamespace(is_cuda=True))
        super().on_before_backward(trainer, pl_module, on_gpu)


@pytest.mark.parametrize("kind", [Warnings, Late])
def test_a_loss_that_explodes_is_said_in_its_step(
    kind: type[Warnings], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = ("optimizer.lr=100", "schedule.warmup_steps=0")
    with caplog.at_level(logging.WARNING, "detbox"), pytest.raises(DivergedError):
        fit(tmp_path, BlackBox(tmp_path), kind(500), batches=4, settings=settings)
    (said,) = ours(caplog)
    assert said.startswith("step 2: the loss explodes: expected the ")
    assert "median over the last 1 batch, got " in said
    assert "try a lower optimizer.lr (now 100)" in said


def test_a_healthy_run_hears_nothing_and_a_slow_one_what_it_lacks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fit(tmp_path, Warnings(500), batches=12, settings=["optimizer.lr=1e-3"])
    assert ours(caplog) == []
    slow = Warnings(20)
    fit(tmp_path, slow, batches=20, settings=["optimizer.lr=1e-9", "schedule.drops=[]"])
    assert slow.said == {"scores_stay_low", "class_term_is_flat"}
    assert "step 20: expected class scores above 0.05 by now, got none above 0.0" in caplog.text
    again = Warnings(20)
    again.load_state_dict(slow.state_dict())
    assert again.said == slow.said


SICK = {
    "no_objects": [EMPTY] * 100,
    "term_is_zero": [OK._replace(terms={"loss": 9.0, "class": 0.0})] * 20,
    "rate_is_zero": [OK._replace(rate=0.0)] * 10,
    "scores_stay_low": [scored(0.03)] * 100,
    "class_term_is_flat": [scored(0.1, 1.0)] * 50 + [scored(0.1, 1.01)] * 50,
    "labels_are_shifted": [taken((0, 1), (1, 2), (2, 3))] * 20,
}
SOUND = {
    "no_objects": [OK, *[EMPTY] * 99],
    "term_is_zero": [EMPTY._replace(objects=1), *[EMPTY] * 99],
    "rate_is_zero": [*[OK._replace(rate=0.0)] * 9, OK],
    "scores_stay_low": [scored(None), scored(0.06), *[scored(0.03)] * 98],
    "class_term_is_flat": [scored(0.1, 1.0)] * 50 + [scored(0.1, 0.9)] * 50,
    "labels_are_shifted": [taken((0, 1), (1, 1), (0, 1), (2, 1))] * 20,
}


@pytest.mark.parametrize("name", SICK)
def test_a_rule_knows_the_sick_from_the_sound(name: str) -> None:
    said = told(name, SICK[name])
    assert said is not None
    assert "expected" in said
    assert "got" in said
    assert told(name, SICK[name][1:]) is None or name == "labels_are_shifted"  # too early
    assert told(name, SOUND[name]) is None


def test_few_objects_in_a_batch_are_no_explosion() -> None:
    usual = [OK._replace(objects=40)] * 20
    alone = OK._replace(objects=1, terms={"loss": 200.0, "class": 40.0, "l1": 2.0})
    assert told("loss_explodes", [*usual, alone]) is None
    assert told("loss_explodes", [*usual, alone._replace(objects=40)]) is not None
    assert told("loss_explodes", [OK]) is None


def test_trained_weights_need_no_falling_class_term() -> None:
    assert told("class_term_is_flat", [scored(0.9)] * 100) is None
    warming = [scored(0.03)._replace(learnt=0.5)] * 100
    assert RULES["scores_stay_low"].check(Window(warming, NAMES, 100)) is None


@pytest.mark.parametrize("softmax", [False, True])
def test_an_object_is_taken_for_the_class_of_the_box_that_overlaps_it_most(softmax: bool) -> None:
    boxes = torch.tensor([[[0.5, 0.5, 0.5, 0.5], [0.2, 0.2, 0.2, 0.2]]]).repeat(2, 1, 1)
    logits = torch.zeros(2, 2, 4 + softmax)
    logits[:, 0, 2], logits[:, 1, 1], logits[:, :, 4:] = 1.0, 3.0, 9.0
    targets = Targets(torch.tensor([3]), torch.tensor([[0.5, 0.5, 0.5, 0.4]]), (0, 1))
    outputs = Outputs(PredictionSet(Origin(0, "match"), logits, boxes), ())
    sight = Sight.of(outputs, targets, 4)
    assert sight.guesses.tolist() == [2]
    assert sight.overlaps.item() == pytest.approx(0.8, abs=1e-4)
    scores = logits.softmax(-1)[..., :4] if softmax else logits.sigmoid()
    assert sight.top == scores.max()


@pytest.mark.parametrize(
    ("labels", "said"),
    [((1, 2, 3, 3), "the first of 4, 'ant' (id 0)"), ((0, 1, 2), "the last of 4, 'dog' (id 3)")],
)
def test_an_outer_class_that_alone_has_no_box_is_named(
    labels: tuple[int, ...], said: str, tmp_path: Path
) -> None:
    def split(*labels: int, images: int = 50) -> Any:
        space = LabelSpace(NAMES, (0, 1, 2, 3))
        learnt = np.ones(len(labels), bool)
        split = context(tmp_path).truth._replace(label_space=space, learnt=learnt)
        return split._replace(labels=np.array(labels, np.int32), image_ids=np.arange(images))

    assert f"got none of {said}, alone" in (class_without_boxes(split(*labels)) or "")
    for sound in ((0, 1, 2, 3), (0, 1, 3), (2, 3)):
        assert class_without_boxes(split(*sound)) is None
    assert class_without_boxes(split(*labels, images=49)) is None  # too few to be sure
