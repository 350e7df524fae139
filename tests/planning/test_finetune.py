"""Settings from the training pictures: what is chosen, what stays, and a run that goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from coco_files import box, image, write_files
from omegaconf import OmegaConf
from tiny import TRAINER

import detbox
from detbox.annotations import Source, read_coco
from detbox.build import plain
from detbox.commands.train import train
from detbox.conversion import start_of
from detbox.planning import Facts, Start, chosen_settings
from detbox.runfile import RunCheckpoint
from detbox.structures import LabelSpace

CELLS = Facts(292, boxes=3941, classes=3, most=30, short=480, small=0.17, epoch=292)


RECIPE = detbox.compose("experiment=finetune")


def chosen(facts: Facts, typed: Sequence[str] = (), **settings: Any) -> dict[str, Any]:
    cfg = RECIPE.copy()
    for key, value in settings.items():
        OmegaConf.update(cfg, key.replace("__", "."), value)
    return {choice.key: choice.value for choice in chosen_settings(cfg, facts, typed)}


def test_few_pictures_get_more_epochs_and_many_get_some() -> None:
    few, cells, many = (
        chosen(CELLS._replace(images=images, epoch=images))["trainer.max_epochs"]
        for images in (10, 292, 5000)
    )
    assert few * (10 // 4) >= 1400 > (few - 1) * (10 // 4)
    assert (cells, many) == (20, 12)
    assert chosen(CELLS, data__batch_size=8)["trainer.max_epochs"] == 39
    assert chosen(CELLS, data__total_batch=8)["trainer.max_epochs"] == 39
    assert chosen(CELLS, trainer__accumulate_grad_batches=2)["trainer.max_epochs"] == 39


def test_more_than_a_batch_needs_is_never_asked_of_fewer_pictures() -> None:
    assert chosen(CELLS._replace(images=3, epoch=3))["trainer.max_epochs"] == 1400


@pytest.mark.parametrize(
    ("small", "short", "size"),
    [(0.5, 480, 192), (0.04, 480, 320), (0.001, 480, 512), (0.001, 4000, 800), (0.0, 100, 192)],
)
def test_small_objects_ask_for_large_pictures_as_far_as_the_files_go(
    small: float, short: int, size: int
) -> None:
    values = chosen(CELLS._replace(small=small, short=short))
    assert values["data.eval_size"] == size
    assert size in values["data.train_sizes"]


def test_there_are_more_queries_than_objects() -> None:
    for most, queries in ((1, 100), (30, 100), (120, 250), (2000, 900)):
        values = chosen(CELLS._replace(most=most))
        assert values["model.num_queries"] == queries
        assert values["model.num_denoising"] >= most


def test_weights_to_start_from_keep_their_sizes_and_queries(tmp_path: Path) -> None:
    torch.save({"model": {"class_embed.0.bias": torch.zeros(3)}}, tmp_path / "official.pth")
    facts = CELLS._replace(start=start_of(tmp_path / "official.pth"))
    found = chosen(facts, model__num_queries=900)
    assert found["model.num_queries"] == 900
    assert (found["data.eval_size"], found["data.max_size"]) == (800, 1333)
    assert found["data.train_sizes"] == [480, *range(512, 801, 32)]
    assert chosen(facts, ["data.eval_size"], data__eval_size=320)["data.train_sizes"] == [320]
    path = tmp_path / "a.ckpt"
    coco = ("data=coco", "data.eval_size=320", "data.train_sizes=[288,320]")
    for data, side, sides, longest in (
        (coco, 320, (288, 320), 1333),
        (("data=shapes", "data.image_size=64"), 64, (64,), 64),
    ):
        cfg = detbox.compose("model.num_queries=150", *data)
        RunCheckpoint(plain(cfg), LabelSpace(("dog",), (1,)), {"a": torch.zeros(1)}).write(path)
        assert start_of(path) == Start(str(path), side, sides, longest, 150)


def test_the_choices_follow_what_was_typed() -> None:
    values = chosen(CELLS, ["data.eval_size"], data__eval_size=320)
    assert "data.eval_size" not in values
    assert (values["data.train_sizes"], values["data.max_size"]) == ([320], 533)
    values = chosen(CELLS, ["data.train_sizes"], data__train_sizes=[160, 320])
    assert (values["data.eval_size"], values["data.max_size"]) == (320, 533)
    every = "trainer.check_val_every_n_epoch"
    assert chosen(CELLS, ["trainer.max_epochs"], trainer__max_epochs=30)[every] == 5
    assert chosen(CELLS, ["trainer.max_epochs"], trainer__max_epochs=1)[every] == 1
    assert chosen(CELLS, ["trainer.max_steps"], trainer__max_steps=100)[every] == 1


def test_what_was_typed_and_what_a_model_lacks_is_not_chosen() -> None:
    cfg = detbox.compose("experiment=finetune", "model=deformable_detr")
    values = {each.key: each.value for each in chosen_settings(cfg, CELLS, ("data.eval_size",))}
    assert {"data.eval_size", "model.num_denoising"}.isdisjoint(values)
    assert values["model.num_queries"] == 100


def test_facts_count_what_is_learnt(tmp_path: Path) -> None:
    boxes = [
        box(1, 1, [0, 0, 12, 12]),
        box(2, 1, [0, 0, 24, 24]),
        box(3, 1, [0, 0, 9, 9], iscrowd=1),
        box(4, 2, [5, 5, 0, 0]),
    ]
    write_files(tmp_path, images=[image(1), image(2, 96, 64)], annotations=boxes)
    file = tmp_path / "annotations" / "instances_train.json"
    facts = Facts.of(read_coco(Source(tmp_path / "train", file)), epoch=5)
    assert facts._replace(small=0.0) == Facts(2, 2, 1, most=2, short=56, small=0.0, epoch=5)
    assert facts.small == pytest.approx(0.25 + 0.1 * 0.25)


def test_a_run_trains_by_its_plan_and_goes_on_by_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = [box(n, 1 + n % 6, [8, 8, 20, 20 + n]) for n in range(1, 19)]
    for split in ("train", "val"):
        write_files(tmp_path, split, images=[image(n) for n in range(1, 7)], annotations=boxes)
    settings = (
        *("experiment=finetune", f"data.root={tmp_path}", "plan.steps=2", "plan.least_epochs=1"),
        *("backbone=resnet10t", "backbone.pretrained=false", "neck.hidden_dim=32", *TRAINER),
        *(
            "model.feedforward_dim=32",
            "data.workers=0",
            "plan.validations=1",
            "plan.short_sides=[64]",
        ),
    )
    train(detbox.compose(*settings), tmp_path / "run")
    told = capsys.readouterr().out
    assert "plan finetune, from 6 images with 18 boxes of 1 class:" in told
    assert "trainer.max_epochs=2 (2 steps of 4 pictures)" in told
    kept = OmegaConf.create(RunCheckpoint.read(tmp_path / "run").config)
    assert (kept.trainer.max_epochs, kept.model.num_queries, kept.data.eval_size) == (2, 100, 64)

    write_files(
        tmp_path,
        images=[image(n) for n in range(1, 7)],
        annotations=[box(n, 1, [8, 8, 20, 20]) for n in range(1, 90)],
    )
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    train(detbox.compose(*settings, f"ckpt={last}"), tmp_path / "again")
    assert "all 2 epochs are done" in capsys.readouterr().out
