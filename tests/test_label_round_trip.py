"""What was learnt under a name comes back under it, whatever the ids of the annotation file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from coco_files import box, image, write_files
from tiny import MODEL, TRAINER

import detbox
from detbox import commands
from detbox.commands.table import bound
from detbox.runfile import RunCheckpoint

NAMES = ("ant", "bee", "cat")
LAYOUTS = [(0, 1, 2), (1, 2, 3), (3, 17, 90)]
DATA = ("data=coco", "data.workers=0", "data.batch_size=2", "data.crop=false")
SIZES = ("data.train_sizes=[48]", "data.eval_size=48", "data.max_size=64")
LEARN = ("optimizer.lr=1", "trainer.max_epochs=3", "trainer.check_val_every_n_epoch=3")

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers:UserWarning",
    "ignore:.*smaller than the logging interval:UserWarning",
    "ignore:.*LeafSpec:FutureWarning",
)


def write_data(root: Path, ids: tuple[int, ...], label: int, reverse: bool = False) -> Path:
    """Both splits of a folder whose every box is of one class; ids and names go together."""
    root.mkdir()
    categories = [{"id": each, "name": name} for each, name in zip(ids, NAMES, strict=True)]
    document = {
        "images": [image(number) for number in (1, 2)],
        "annotations": [
            box(number, number, [8, 8, 32, 24], category_id=ids[label]) for number in (1, 2)
        ],
        "categories": categories[::-1] if reverse else categories,
    }
    for split in ("train", "val"):
        write_files(root, split, **document)
    return root


def train(root: Path, folder: Path) -> Path:
    """Teach the bias of the class heads alone, so that the class of the boxes surely wins."""
    cfg = detbox.compose(*MODEL, *TRAINER, *DATA, *SIZES, *LEARN, f"data.root={root}")
    cfg.optimizer.lr_factors = {r"^(?!.*class_head\.bias)": 0.0}
    commands.train.train(cfg, folder)
    return folder / "checkpoints" / "last.ckpt"


def evaluate(checkpoint: Path, root: Path, folder: Path) -> list[dict]:
    """The detections of an evaluation on the data under `root`, best of each image first."""
    overrides = (f"ckpt={checkpoint}", "data=coco", f"data.root={root}", *TRAINER[:2])
    cfg = detbox.compose(*overrides, config_name="evaluate")
    commands.evaluate.evaluate(cfg, folder, ["data", "data.root"])
    return json.loads((folder / "detections.json").read_text())


def best_ids(entries: list[dict]) -> set[int]:
    """Category ids of the best detection of every image."""
    best = {entry["image_id"]: entry for entry in sorted(entries, key=lambda each: each["score"])}
    return {entry["category_id"] for entry in best.values()}


@pytest.mark.parametrize("label", [0, 2])
@pytest.mark.parametrize("ids", LAYOUTS)
def test_a_class_keeps_its_name_and_id_from_training_to_prediction(
    ids: tuple[int, ...], label: int, tmp_path: Path
) -> None:
    root = write_data(tmp_path / "data", ids, label)
    checkpoint = train(root, tmp_path / "run")
    predictor = detbox.load(checkpoint, "cpu")
    assert predictor.names == NAMES
    (found,) = predictor.predict(np.full((48, 64, 3), 128, dtype=np.uint8))
    assert found.names[0] == NAMES[label]
    assert set(found.names) == set(NAMES)
    trained = json.loads((tmp_path / "run" / "detections.json").read_text())
    assert best_ids(trained) == {ids[label]}
    assert RunCheckpoint.read(checkpoint).label_space.to_dict() == {
        "names": list(NAMES),
        "category_ids": list(ids),
    }


def test_other_data_may_list_the_same_classes_in_another_order(tmp_path: Path) -> None:
    checkpoint = train(write_data(tmp_path / "data", (3, 17, 90), 1), tmp_path / "run")
    same = evaluate(checkpoint, tmp_path / "data", tmp_path / "same")
    other = write_data(tmp_path / "other", (3, 17, 90), 1, reverse=True)
    assert evaluate(checkpoint, other, tmp_path / "other evaluation") == same
    assert best_ids(same) == {17}


def test_pictures_and_json_of_a_prediction_carry_name_and_id(tmp_path: Path) -> None:
    root = write_data(tmp_path / "data", (3, 17, 90), 2)
    checkpoint = train(root, tmp_path / "run")
    overrides = (f"ckpt={checkpoint}", f"source={root / 'val'}", "threshold=0", "device=cpu")
    cfg = detbox.compose(*overrides, config_name="predict")
    bound("predict", cfg)(tmp_path / "shown")
    listed = json.loads((tmp_path / "shown" / "predictions.json").read_text())["images"]
    best = [max(each["detections"], key=lambda one: one["score"]) for each in listed]
    assert [(each["name"], each["category_id"]) for each in best] == [("cat", 90)] * 2
