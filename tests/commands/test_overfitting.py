"""`overfit=8` asks whether a detector can learn at all, and says what kept it from that."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import TINY, run

import detbox
from detbox.build import build_data
from detbox.commands.overfitting import few_of, gate_settings
from detbox.commands.train import train
from detbox.data.samples import EvaluationSet
from detbox.errors import DataError, NotLearntError, SettingError
from detbox.figures import ClassMetrics, CocoMetrics
from detbox.guards.overfit import Course, causes

LEARNS = (
    *("neck.hidden_dim=64", "model.feedforward_dim=128", "model.dropout=0"),
    *("optimizer.lr=2e-3", "optimizer.weight_decay=0", "optimizer.lr_factors.backbone=1.0"),
)


@pytest.mark.slow
def test_a_detector_that_learns_passes_and_the_command_says_so(tmp_path: Path) -> None:
    done = run("train", *TINY, *LEARNS, "overfit=2", "hydra.run.dir=r", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "overfit=2 passed: AP50 " in done.stdout
    assert "warning" not in done.stdout
    assert not (tmp_path / "r/checkpoints").exists()


def test_a_detector_without_a_class_loss_fails(tmp_path: Path) -> None:
    broken = ("criterion.weights.class=0", "trainer.max_steps=4", "overfit=2")
    with pytest.raises(NotLearntError) as error:
        train(detbox.compose(*TINY, *broken), tmp_path)
    said = str(error.value)
    assert said.startswith(
        "overfit=2 failed: expected an AP50 of 0.9 on pictures that were trained"
    )
    assert "after 4 steps; terms: loss " in said
    assert "nothing is learnt from class, which is 0: look at criterion.weights" in said


def test_both_splits_are_the_first_pictures_with_objects_as_evaluation_shows_them() -> None:
    cfg = gate_settings(detbox.compose(*TINY, "overfit=5", "trainer.max_steps=20"))
    whole = build_data(cfg)
    data = few_of(whole, cfg)
    assert data.val.image_ids.tolist() == whole.train.image_ids[:5].tolist()
    assert data.train_batches == 20
    assert set(data.train.image_ids.tolist()) == set(data.val.image_ids.tolist())
    shown = EvaluationSet(data.val, data.dataset.display)
    for index in (0, 6):
        learnt, judged = data._training[3, index], shown[0, index % 5]
        assert torch.equal(learnt.pixels, judged.pixels)
        torch.testing.assert_close(learnt.boxes, judged.boxes)
        assert torch.equal(learnt.labels, judged.labels)
    cfg.overfit = 13
    with pytest.raises(DataError, match=r"has 12 among 12 images; give a smaller number"):
        _ = few_of(whole, cfg).val


def test_the_run_is_constant_bounded_and_keeps_no_weights() -> None:
    cfg = gate_settings(detbox.compose("callbacks=ema", "experiment=quickstart", "overfit=8"))
    off = {key for key, each in cfg.callbacks.items() if each is None}
    assert off == {"checkpoints", "ema"}
    assert (cfg.trainer.max_steps, cfg.trainer.max_epochs) == (1000, -1)
    assert cfg.schedule == {"name": "step", "drops": []}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("overfit=0", "expected overfit=8 or another number of pictures, got 0"),
        ("ckpt=RUN", "starts a run of its own, got ckpt=RUN to resume; give init="),
        ("callbacks.evaluation=null", "judged by AP50, and callbacks.evaluation is off"),
    ],
)
def test_what_is_no_gate_is_refused(override: str, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        gate_settings(detbox.compose("overfit=8", override))


def test_causes_are_told_apart() -> None:
    metrics = CocoMetrics._make([*[0.5] * 15, 4, 10, (ClassMetrics("bee", 2, 3, 0.0, 0.0),)])
    flat = [{"loss": 9.0, "class": 1.0, "l1": 2.0}] * 6
    assert list(causes(Course(flat, metrics._replace(classes=()), 1e-4, 300))) == [
        "the class term has not fallen (1 to 1): try a higher optimizer.lr (now 0.0001)",
        "the l1 term has not fallen (2 to 2): try a higher optimizer.lr (now 0.0001)",
    ]
    assert next(causes(Course(flat[:2], metrics, 1e-4, 8))).startswith("the class term has not")
    falling = [{"loss": 0.5**n, "class": 0.5**n} for n in range(6)]
    assert list(causes(Course(falling, metrics._replace(AP_small=0.1), 1e-4, 300))) == [
        "the loss still falls: give trainer.max_steps=600 or a higher optimizer.lr (now 0.0001)",
        "never found: bee",
        "small objects have an AP of 0.10: show larger pictures",
    ]
