"""The models learn: a tiny configuration knows eight photographs by heart after a few steps.

Criterion, matcher and post-processing are the model's own, pictures come as in evaluation, all
eight in each step; the judge is COCO's evaluation on the same pictures.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from omegaconf import DictConfig

import detbox
from detbox.annotations import Source, read_coco
from detbox.backbones.weights import load_pretrained
from detbox.build import build_data, build_module
from detbox.engine.module import DetectionModule
from detbox.evaluation.coco import CocoEvaluator
from detbox.structures import Batch

IMAGES = 8
MOST_OBJECTS = 4
LEAST_AREA = 0.02
"""of the picture"""
NEEDED = 0.9
"""AP50"""
WEIGHTS = "weights/timm_tf_efficientnet_lite0.pth"
TINY = (
    "backbone=tf_efficientnet_lite0",
    "backbone.frozen_stages=1",
    "neck.hidden_dim=64",
    "model.num_queries=20",
    "model.encoder_layers=1",
    "model.decoder_layers=2",
    "model.num_heads=4",
    "model.feedforward_dim=128",
    "model.dropout=0",
    "data.eval_size=128",
    "data.max_size=128",
    f"data.eval_batch_size={IMAGES}",
    "data.workers=0",
    "optimizer.weight_decay=0",
    "schedule=cosine",
    "schedule.warmup_steps=10",
)
ONE_LEVEL = ("backbone.strides=[16]",)
TWO_LEVELS = ("backbone.strides=[16,32]", "neck.num_levels=2")
NOISED = (*TWO_LEVELS, "model.num_denoising=5")


class Recipe(NamedTuple):
    """What a model needs to learn the pictures; a step takes about 0.25 s on one core."""

    steps: int
    lr: float
    overrides: tuple[str, ...]


RECIPES = {
    "detr": Recipe(150, 1e-3, ONE_LEVEL),
    "dab_detr": Recipe(200, 3e-3, ONE_LEVEL),
    "deformable_detr": Recipe(100, 2e-3, TWO_LEVELS),
    "dino": Recipe(125, 2e-3, NOISED),
    "stable_dino": Recipe(125, 2e-3, NOISED),
}


@pytest.fixture(scope="module")
def annotation_file(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first pictures of the sample, by id, with few objects, none small, none a crowd."""
    source = shared / "data/coco_sample/annotations/instances_train2017.json"
    if not source.is_file() or not (shared / WEIGHTS).is_file():
        pytest.skip("needs the COCO sample and the EfficientNet-Lite0 weights of the shared data")
    document = json.loads(source.read_text(encoding="utf-8"))
    chosen = [
        (image, objects)
        for image in sorted(document["images"], key=lambda image: image["id"])
        for objects in [[o for o in document["annotations"] if o["image_id"] == image["id"]]]
        if is_easy(image, objects)
    ][:IMAGES]
    assert len(chosen) == IMAGES
    document["images"] = [image for image, _ in chosen]
    document["annotations"] = [each for _, objects in chosen for each in objects]
    path = tmp_path_factory.mktemp("overfit") / "annotations.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def is_easy(image: dict[str, Any], objects: list[dict[str, Any]]) -> bool:
    """Few objects, each large enough to be seen in a small picture."""
    least = LEAST_AREA * image["width"] * image["height"]
    large = all(each["bbox"][2] * each["bbox"][3] >= least for each in objects)
    crowded = any(each["iscrowd"] for each in objects)
    return 1 <= len(objects) <= MOST_OBJECTS and large and not crowded


def configuration(model: str, shared: Path, annotation_file: Path) -> DictConfig:
    """The published configuration of the model, made tiny."""
    return detbox.compose(
        f"model={model}",
        "data=coco",
        f"data.val_images={shared / 'data/coco_sample/train2017'}",
        f"data.val_annotations={annotation_file}",
        f"optimizer.lr={RECIPES[model].lr}",
        *TINY,
        f"backbone.weights={shared / WEIGHTS}",
        *RECIPES[model].overrides,
    )


def fit(module: DetectionModule, batch: Batch, steps: int, clip: float) -> None:
    """Optimizer, schedule and clipping of the configuration, always the same batch."""
    assert module.optimization is not None
    made = module.optimization(module.detector, steps, steps)
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    module.train()
    for step in range(steps):
        optimizer.zero_grad()
        module.training_step(batch, step)["loss"].backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), clip)
        optimizer.step()
        schedule.step()


@torch.no_grad()
def average_precision(module: DetectionModule, batch: Batch, annotation_file: Path) -> float:
    """AP50 on the batch."""
    module.eval()
    outputs = module.detector(batch.images)
    evaluator = CocoEvaluator(
        read_coco(Source(annotation_file.parent, annotation_file)), module.label_space
    )
    evaluator.update(batch.image_ids, module.postprocess(outputs.prediction, batch.sizes))
    return evaluator.compute().scalars()["AP50"]


@pytest.mark.slow
@pytest.mark.parametrize("model", RECIPES)
def test_a_tiny_configuration_learns_eight_pictures_by_heart(
    model: str, shared: Path, annotation_file: Path
) -> None:
    cfg = configuration(model, shared, annotation_file)
    torch.manual_seed(cfg.seed)
    data = build_data(cfg)
    (batch,) = data.val_dataloader()
    module = build_module(cfg, data.label_space)
    load_pretrained(module.detector.backbone, required=True)
    fit(module, batch, RECIPES[model].steps, cfg.trainer.gradient_clip_val)
    assert average_precision(module, batch, annotation_file) >= NEEDED
