"""The drawn set: deterministic, well-formed, made once."""

from __future__ import annotations

import hashlib
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from detbox.data.drawing import NAMES, draw_scene
from detbox.data.module import DataModule
from detbox.data.shapes import ensure_shapes
from detbox.registry import DATA

COUNTS = {"train": 12, "val": 4}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv("DETBOX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def digest(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def test_the_same_set_is_drawn_every_time(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ensure_shapes(64, COUNTS)
    monkeypatch.setenv("DETBOX_CACHE", str(cache / "other"))
    second = ensure_shapes(64, COUNTS)
    assert first != second
    assert digest(first) == digest(second)


def test_a_set_is_drawn_once(cache: Path) -> None:
    folder = ensure_shapes(64, COUNTS)
    made = (folder / "train" / "000000.jpg").stat().st_mtime_ns
    assert ensure_shapes(64, COUNTS) == folder
    assert (folder / "train" / "000000.jpg").stat().st_mtime_ns == made
    assert ensure_shapes(64, {"train": 3, "val": 1}) != folder


def test_processes_that_race_leave_one_whole_set(cache: Path) -> None:
    with multiprocessing.get_context("fork").Pool(3) as pool:
        folders = pool.starmap(ensure_shapes, [(64, COUNTS)] * 3, chunksize=1)
    assert len(set(folders)) == 1
    assert list(cache.iterdir()) == [folders[0]]
    assert len(list(folders[0].glob("*/*.jpg"))) == 16


def test_boxes_fit_the_pictures_and_classes_are_balanced() -> None:
    labels: list[int] = []
    for seed in range(150):
        scene = draw_scene(128, np.random.default_rng(seed))
        assert scene.pixels.shape == (128, 128, 3)
        assert 1 <= len(scene.labels) <= 5
        boxes = np.array(scene.boxes)
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, :2] + boxes[:, 2:] <= 128).all()
        assert boxes[:, 2:].min() >= 6
        assert boxes[:, 2:].max() <= 70
        labels += scene.labels
    shares = np.bincount(labels, minlength=len(NAMES)) / len(labels)
    assert shares.min() > 0.12


def test_pictures_change_where_the_boxes_are() -> None:
    """Gradients inside the boxes are far steeper than outside."""
    ratios = []
    for seed in range(20):
        scene = draw_scene(128, np.random.default_rng(seed))
        steep = np.abs(np.diff(scene.pixels.astype(float).mean(-1), axis=1))
        inside = np.zeros(steep.shape, dtype=bool)
        for x, y, width, height in scene.boxes:
            inside[int(y) : int(y + height), int(x) : int(x + width)] = True
        ratios.append(steep[inside].mean() / steep[~inside].mean())
    assert np.median(ratios) > 2


def test_the_set_is_coco_and_loads(capsys: pytest.CaptureFixture) -> None:
    settings = {"name": "shapes", "image_size": 64, "train_images": 12, "val_images": 4}
    data = DataModule(DATA.build(settings), 0)
    truth = COCO(data.val.source)
    assert len(truth.getImgIds()) == 4
    assert data.dataset.embedded
    assert data.label_space.names == NAMES
    batch = next(iter(data.train_dataloader()))
    assert tuple(batch.images.pixels.shape) == (8, 3, 64, 64)
    assert sum(batch.targets.counts) == len(batch.targets.labels) > 8
    ids = [number for batch in data.val_dataloader() for number in batch.image_ids]
    assert ids == [1, 2, 3, 4]


def test_settings_that_cannot_be_drawn_are_refused() -> None:
    with pytest.raises(ValueError, match="image_size >= 32"):
        ensure_shapes(8, COUNTS)


def test_a_cache_that_cannot_be_written_says_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DETBOX_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(RuntimeError, match="set DETBOX_CACHE"):
        ensure_shapes(64, COUNTS)
