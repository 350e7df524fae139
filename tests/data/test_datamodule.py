"""The builders, the folders they find, and resuming under Lightning."""

from __future__ import annotations

import json
import logging
import zlib
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from coco_files import SHARED, WriteSplit, box, image, write_files
from lightning.pytorch.callbacks import ModelCheckpoint

from detbox.data.module import DataModule
from detbox.registry import DATA
from detbox.structures import Batch

SMALL = {"train_sizes": [32, 40], "eval_size": 40, "crop_from": [40], "crop_sizes": [24, 36]}


def build(root: Path | str | None = None, seed: int = 0, **settings: Any) -> DataModule:
    where = {} if root is None else {"root": str(root)}
    dataset = DATA.build({"name": "coco", "workers": 0, **SMALL, **where, **settings})
    return DataModule(dataset, seed)


@pytest.fixture
def root(write_split: WriteSplit) -> Path:
    """Eleven training and five validation images."""
    images = [image(n) for n in range(11)]
    boxes = [box(n, n, [4, 4, 20, 20]) for n in range(1, 11)]
    write_split("train", images=images, annotations=boxes)
    return write_split("val", images=images[:5], annotations=boxes[:4])


def test_the_standard_layout_is_found(root: Path) -> None:
    data = build(root)
    assert len(data.train_dataloader()) == 5
    assert len(data.val_dataloader()) == 3
    assert data.label_space.names == ("cat",)
    assert data.val.source == root / "annotations" / "instances_val.json"
    assert not data.dataset.embedded
    assert (data.train_batches, data.train.num_boxes) == (5, 10)


@pytest.mark.parametrize("batch_size", [1, 3, 4, 11, 12])
def test_the_batches_of_an_epoch_are_known_without_a_loader(root: Path, batch_size: int) -> None:
    data = build(root, batch_size=batch_size)
    assert data.train_batches == len(data.train_dataloader())


def test_layouts_of_exporters_are_found(root: Path) -> None:
    for split, name in (("train", "train"), ("val", "valid")):
        file = root / "annotations" / f"instances_{split}.json"
        (root / split).rename(root / name)
        file.rename(root / name / "_annotations.coco.json")
    assert build(root).val.num_images == 5


def test_splits_can_be_named(root: Path) -> None:
    named = build(
        train_images=str(root / "val"),
        train_annotations=str(root / "annotations" / "instances_val.json"),
        val_images=str(root / "train"),
        val_annotations=str(root / "annotations" / "instances_train.json"),
    )
    assert (named.train.num_images, named.val.num_images) == (5, 11)
    relative = build(root, val_images="train", val_annotations="annotations/instances_train.json")
    assert (relative.train.num_images, relative.val.num_images) == (11, 11)


def test_an_undivided_folder_serves_both_and_says_so(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (root / "train").rename(root / "images")
    (root / "annotations" / "instances_train.json").rename(root / "annotations.json")
    (root / "annotations" / "instances_val.json").unlink()
    data = build(root)
    assert (data.train.num_images, data.val.num_images) == (11, 11)
    assert "is not divided into train and val" in caplog.text


def test_two_fitting_splits_must_be_chosen_from(root: Path) -> None:
    write_files(root, "train2014")
    with pytest.raises(ValueError, match=r"found .*train\.json.*choose with data\.train_images"):
        _ = build(root).train


def test_a_batch_larger_than_the_split_is_said_and_not_tried(root: Path) -> None:
    with pytest.raises(ValueError, match=r"batch of 12 .* the 11 .*try data\.batch_size=11$"):
        build(root, batch_size=12).share(1, 1)
    with pytest.raises(ValueError, match=r"batch_size=11 data\.total_batch=null"):
        build(root, total_batch=24).share(2, 1)
    assert build(root, batch_size=11).share(2, 1).total == 22


def test_wrong_folders_say_what_to_set(root: Path) -> None:
    with pytest.raises(ValueError, match=r"needs data\.root"):
        _ = build().label_space
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        _ = build(root / "none").label_space
    with pytest.raises(ValueError, match="has none of them"):
        _ = build(root / "train").label_space
    with pytest.raises(ValueError, match="go together"):
        _ = build(root, val_images="val").label_space
    with pytest.raises(ValueError, match=r"data\.batch_size must be at least 1, got 0"):
        build(root, batch_size=0)


def test_evaluation_opens_no_training_file(root: Path) -> None:
    for file in (root / "train").iterdir():
        file.unlink()
    (root / "train").rmdir()
    (root / "annotations" / "instances_train.json").write_text("broken")
    data = build(root)
    assert data.val.label_space.names == ("cat",)
    assert sum(len(batch.image_ids) for batch in data.val_dataloader()) == 5
    with pytest.raises(ValueError, match="is no valid JSON"):
        data.train_dataloader()


def test_splits_of_other_categories_are_refused(root: Path) -> None:
    file = root / "annotations" / "instances_val.json"
    document = json.loads(file.read_text())
    document["categories"] = [{"id": 1, "name": "dog"}]
    file.write_text(json.dumps(document))
    for ask in (lambda data: data.label_space, lambda data: data.train_dataloader()):
        with pytest.raises(ValueError, match=r"the same categories.*\(1, 'cat'\).*\(1, 'dog'\)"):
            ask(build(root))


def test_validation_may_have_some_of_the_classes_by_other_ids(
    write_split: WriteSplit, caplog: pytest.LogCaptureFixture
) -> None:
    names = {1: "ant", 2: "bee", 3: "cat"}
    listed = [{"id": number, "name": name} for number, name in names.items()]
    write_split("train", categories=listed, annotations=[box(1, 1, [4, 4, 20, 20])])
    bee = {"categories": [{"id": 9, "name": "bee"}]}
    root = write_split("val", **bee, annotations=[box(1, 1, [4, 4, 20, 20], category_id=9)])
    data = build(root)
    assert data.label_space.names == data.val.label_space.names == ("ant", "bee", "cat")
    (batch,) = data.val_dataloader()
    assert batch.targets.labels.tolist() == [1]
    assert "lacks 2 of the 3 classes of training, which are not scored: ant, cat" in caplog.text
    assert build(root).val.label_space.category_ids == (9,)  # an evaluation alone


def test_a_split_without_annotations_is_nothing_to_train_on(write_split: WriteSplit) -> None:
    write_split("train", annotations=[box(1, 1, [4, 4, 20, 20])])
    data = build(write_split("val"))
    with pytest.raises(ValueError, match=r"instances_val\.json has no annotations of its 1 image"):
        data.train_dataloader()
    assert data.val.num_images == 1


def test_validation_shows_pictures_as_they_are(root: Path) -> None:
    batches = list(build(root, eval_size=48).val_dataloader())
    again = list(build(root, eval_size=48, seed=5).val_dataloader())
    assert [batch.image_ids for batch in batches] == [(0, 1), (2, 3), (4,)]
    assert all(
        torch.equal(one.images.pixels, other.images.pixels)
        for one, other in zip(batches, again, strict=True)
    )


def test_the_ranks_of_a_trainer_share_the_images(root: Path) -> None:
    shown: dict[str, list[list[int]]] = {"train": [], "val": []}
    for rank in range(2):
        data = build(root)
        data.trainer = SimpleNamespace(global_rank=rank, world_size=2)  # type: ignore[assignment]
        for split, loader in (("train", data.train_dataloader()), ("val", data.val_dataloader())):
            shown[split].append([number for batch in loader for number in batch.image_ids])
    assert set(chain(*shown["val"])) == set(range(5))
    assert [len(ids) for ids in shown["train"]] == [4, 4]
    assert len(set(chain(*shown["train"]))) == 8


class Recorder(L.LightningModule):
    """Learns nothing, remembers every batch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[tuple] = []
        self.validated = 0

    def training_step(self, batch: Batch, batch_index: int) -> torch.Tensor:
        pixels = zlib.crc32(batch.images.pixels.numpy().tobytes())
        self.seen.append((self.current_epoch, batch.image_ids, pixels))
        return self.weight * 1.0

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        self.validated += len(batch.image_ids)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def train(folder: Path, data: DataModule, steps: int, ckpt: Path | None = None) -> Recorder:
    saver = ModelCheckpoint(folder, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    trainer = L.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        callbacks=[saver],
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    module = Recorder()
    trainer.fit(module, datamodule=data, ckpt_path=ckpt)
    return module


@pytest.mark.filterwarnings("ignore:Checkpoint directory.*not empty:UserWarning")
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", [3, 5, 7, 10])
def test_lightning_resumes_with_the_very_next_pictures(
    root: Path, tmp_path: Path, workers: int, stop: int
) -> None:
    straight = train(tmp_path / "a", build(root), 14)
    ended = train(tmp_path / "b", build(root, workers=workers), stop)
    assert ended.seen == straight.seen[:stop]
    for folder in ("a", "b"):
        ckpt = tmp_path / folder / f"step={stop}.ckpt"
        resumed = train(tmp_path / folder, build(root, workers=workers), 14, ckpt)
        assert resumed.seen == straight.seen[stop:]


def test_checkpoints_hold_the_position(root: Path, tmp_path: Path) -> None:
    train(tmp_path / "a", build(root), 3)
    checkpoint = torch.load(tmp_path / "a" / "step=3.ckpt", weights_only=True)
    position = {"epoch": 0, "yielded": 3, "length": 5}
    assert checkpoint["loops"]["fit_loop"]["state_dict"]["combined_loader"] == [position]


@pytest.mark.skipif(
    not (SHARED / "bccd").is_dir(), reason="needs the BCCD photographs beside the repository"
)
def test_bccd_yields_whole_batches(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "detbox")
    root = SHARED / "bccd"
    data = build(root, batch_size=4, train_sizes=[96], max_size=128, crop=False)
    batch = next(iter(data.train_dataloader()))
    assert data.label_space.names == ("RBC", "WBC", "Platelets")
    assert tuple(batch.images.pixels.shape) == (4, 3, 96, 128)
    assert batch.sizes.tolist() == [[480, 640]] * 4
    assert len(caplog.records) == 2


@pytest.mark.skipif(
    not (SHARED / "coco_sample").is_dir(), reason="needs the COCO sample beside the repository"
)
def test_coco_sample_counts_every_validation_image() -> None:
    data = build(SHARED / "coco_sample", eval_batch_size=8)
    ids = [number for batch in data.val_dataloader() for number in batch.image_ids]
    assert sorted(ids) == sorted(data.val.image_ids.tolist())
