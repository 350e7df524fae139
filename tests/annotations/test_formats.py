"""Every format says the same of the same pictures, from any folder, or says what is odd."""

from __future__ import annotations

import shutil
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
import written_formats
from coco_files import SHARED
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from written_formats import NAMES, SCENES, WRITERS, Scene, coco, write_set

from detbox.annotations import Source, read_coco
from detbox.annotations.listing import PICTURES
from detbox.annotations.split import Split, corners
from detbox.data.folder import Folder, Named
from detbox.data.module import DataModule
from detbox.errors import DetboxError
from detbox.messages import printable
from detbox.registry import DATA

SOON = settings(
    max_examples=30,
    deadline=timedelta(seconds=20),
    suppress_health_check=list(HealthCheck),
)
JUNK = st.one_of(
    st.binary(max_size=12),
    st.sampled_from(
        ["../../out/x.jpg", "/etc/passwd", "1e999", "nan", "-1", "9" * 30, "\0", "<a>", "[", '"']
    ).map(str.encode),
)
NOTHING = {"train": Named(None, None), "val": Named(None, None)}


def read(root: Path, split: str = "train", format: str | None = None) -> Split:
    """A split of a folder, whose format is found."""
    found = Folder(str(root), NOTHING, format)(split)
    assert found is not None
    return found


def said(split: Split) -> dict[str, tuple[tuple[int, int], list[tuple[str, list[float]]]]]:
    """By file: size and objects in their order."""
    owners = split.owners()
    return {
        Path(split.names[index]).name: (
            split.size(index),
            [
                (split.label_space.names[split.labels[at]], split.boxes[at].round(6).tolist())
                for at in np.flatnonzero(owners == index)
            ],
        )
        for index in range(split.num_images)
    }


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_says_what_coco_says(name: str, tmp_path: Path) -> None:
    root, reference = write_set(tmp_path / "x", WRITERS[name]), write_set(tmp_path / "c", coco)
    for split in SCENES:
        ours, theirs = read(root, split), read(reference, split)
        assert said(ours) == said(theirs)
        assert ours.learnt.all()
        assert all(path.is_file() for path in ours.paths(9))
        assert not [each for each in ours.findings if each.defect]
    data = DataModule(DATA.build({"name": "folder", "workers": 0, "root": str(root)}), 0)
    assert data.label_space.names == NAMES
    assert data.val.label_space == data.train.label_space


@pytest.mark.skipif(
    not (SHARED / "bccd").is_dir(), reason="needs the BCCD photographs beside the repository"
)
def test_every_format_gives_the_same_first_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = read_coco(
        Source(SHARED / "bccd/train", SHARED / "bccd/annotations/instances_train.json")
    )
    classes = split.label_space.names
    monkeypatch.setattr(written_formats, "NAMES", tuple(sorted(classes)))
    monkeypatch.setattr(written_formats, "picture", copied)
    scenes = []
    for index in range(13):
        own = slice(split.starts[index], split.starts[index + 1])
        labels, boxes = split.labels[own], corners(split.boxes[own]).astype(int).tolist()
        objects = tuple(
            (classes[label], tuple(box)) for label, box in zip(labels, boxes, strict=True)
        )
        height, width = split.size(index)
        scenes.append(Scene(split.names[index], width, height, objects))
    batches = {}
    for name, write in {"coco": coco, **WRITERS}.items():
        root = write_set(tmp_path / name, write, {"train": scenes[:12], "val": scenes[12:]})
        settings = {"workers": 0, "batch_size": 4, "train_sizes": [160], "root": str(root)}
        data = DataModule(DATA.build({"name": "folder", **settings}), 3)
        batches[name] = next(iter(data.train_dataloader()))
    first = batches.pop("coco")
    for batch in batches.values():
        torch.testing.assert_close(batch, first, rtol=0, atol=0)


def copied(folder: Path, scene: Scene) -> None:
    """A photograph in place of a drawing."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(SHARED / "bccd/train" / scene.file, folder)


def test_what_is_not_understood_is_told_with_the_nearest_layouts(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text("{}")
    (tmp_path / "labels").symlink_to(tmp_path.parent)
    with pytest.raises(DetboxError) as refused:
        read(tmp_path)
    told = str(refused.value)
    assert "has none of them, but mine.json; links are not followed: labels; or" in told
    assert "LabelMe's JSON" in told
    assert "YOLO" not in told


def test_one_line_says_what_was_found(tmp_path: Path) -> None:
    found = read(write_set(tmp_path / "x", WRITERS["voc"]))
    told = "x (voc, 32 x 32 to 64 x 40): 3 images, 4 boxes, 3 classes; 1 image without boxes kept"
    assert found.summary().startswith(told)


@pytest.mark.parametrize("name", WRITERS)
def test_any_bytes_are_read_or_refused(name: str) -> None:
    with TemporaryDirectory() as place:
        root = write_set(Path(place) / "x", WRITERS[name], {"train": SCENES["train"][:1]})
        texts = [each for each in root.rglob("*") if each.is_file()]
        texts = [each for each in texts if not PICTURES.search(each.name)]

        @SOON
        @given(st.data())
        def spoilt(data: st.DataObject) -> None:
            file = data.draw(st.sampled_from(texts))
            whole = file.read_bytes()
            start = data.draw(st.integers(0, len(whole)))
            end = data.draw(st.sampled_from([start, start + 1, start + 9, len(whole)]))
            try:
                file.write_bytes(whole[:start] + data.draw(JUNK) + whole[end:])
                with suppress(DetboxError):
                    _used(read(root, format=name), root)
            finally:
                file.write_bytes(whole)

        spoilt()


def _used(split: Split, root: Path) -> None:
    assert printable(split.summary()) == split.summary()
    for index in range(split.num_images):
        _, boxes = split.objects(index)
        assert ((boxes >= 0) & (boxes <= 1)).all()
        assert split.path(index).resolve().is_relative_to(root.resolve())
