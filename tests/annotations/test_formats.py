"""Every format says the same of the same pictures, from any folder, or says what is odd."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from written_formats import NAMES, SCENES, WRITERS, coco, write_set

from detbox.annotations.listing import PICTURES
from detbox.annotations.split import Split
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
