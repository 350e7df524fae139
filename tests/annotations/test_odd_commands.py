"""Odd data sets by real commands: one line and exit code 1, or a run that says what it mended."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest
from odd_data import NOTHING, ODD, SPELLING, TYPE, Odd, both, flawless, moved, write_odd, written
from tiny import MODEL, TRAINER, run

import detbox
from detbox.annotations import Source, read_coco
from detbox.build import build_data
from detbox.errors import DetboxError
from detbox.messages import typed

SMOKE = (
    *(*MODEL, *TRAINER, "trainer=smoke", "data=coco", "data.workers=0", "data.crop=false"),
    *("data.train_sizes=[32]", "data.eval_size=32", "hydra.run.dir=run"),
)
EVALUATE = ("ckpt=run/checkpoints/last.ckpt", "hydra.run.dir=evaluation")
REFUSED = {NOTHING: "all are crowds", TYPE: "infinite width", SPELLING: "outside"}
READ = {NOTHING: "names as ids", TYPE: "UTF-16", SPELLING: "backslashes"}


def member(kind: str, name: str) -> Odd:
    (odd,) = (odd for odd in ODD if (odd.kind, odd.name) == (kind, name))
    return odd


@pytest.mark.slow
@pytest.mark.parametrize("kind", REFUSED)
def test_a_command_refuses_in_one_line(kind: str, tmp_path: Path) -> None:
    write_odd(tmp_path / "data", member(kind, REFUSED[kind]).spoil)
    done = run("train", *SMOKE, "data.root=data", folder=tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "instances_train.json" in line


@pytest.mark.slow
def test_a_command_trains_and_evaluates_on_oddities_of_each_kind(tmp_path: Path) -> None:
    spoils = (member(kind, READ[kind]).spoil for kind in (NOTHING, SPELLING, TYPE))
    write_odd(tmp_path / "data", both(*spoils))
    done = run("train", *SMOKE, "data.root=data", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    again = run("evaluate", *EVALUATE, folder=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "COCO evaluation, 2 images" in again.stdout
    assert len(json.loads((tmp_path / "evaluation" / "detections.json").read_text())) > 0


@pytest.mark.slow
def test_validation_needs_no_training_file_and_not_all_classes(tmp_path: Path) -> None:
    root = write_odd(tmp_path / "data")
    document = flawless("val")
    document["categories"] = [{"id": 5, "name": "nut"}]
    nuts = [entry for entry in document["annotations"] if entry["category_id"] == 2]
    document["annotations"] = [entry | {"category_id": 5} for entry in nuts]
    (root / "annotations" / "instances_val.json").write_text(json.dumps(document))
    done = run("train", *SMOKE, "data.root=data", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "lacks 1 of the 2 classes of training" in done.stdout + done.stderr

    (root / "annotations" / "instances_train.json").write_text('{"images": [')
    again = run("evaluate", *EVALUATE, folder=tmp_path)
    assert again.returncode == 0, again.stderr
    found = json.loads((tmp_path / "evaluation" / "detections.json").read_text())
    assert {entry["category_id"] for entry in found} == {5}


def test_the_advised_conversion_from_latin_1_works_as_typed(tmp_path: Path) -> None:
    root = write_odd(tmp_path / "it's here", written("latin-1"))
    file = root / "annotations" / "instances_train.json"
    with pytest.raises(DetboxError, match="iconv") as refused:
        read_coco(Source(root / "train", file))
    advised = str(refused.value).split("if it is Latin-1: ")[1]
    subprocess.run(advised, shell=True, check=True)
    assert read_coco(Source(root / "train", file)).label_space.names == ("Möhre", "nut")
    assert [path.name for path in file.parent.iterdir()].count(file.name) == 1


def test_the_advised_folder_works_as_typed(tmp_path: Path) -> None:
    root = write_odd(tmp_path / "it's [here]", moved("../test/{}"))
    place = typed("data.root", str(root))
    (place,) = shlex.split(place)
    with pytest.raises(DetboxError, match=r"none of the 2 images .* there is test/") as refused:
        _ = build_data(detbox.compose("data=coco", place)).train
    _, advised = str(refused.value).split("; set ")
    words = shlex.split(advised.split(", where")[0])
    assert [word.split("=")[0] for word in words] == ["data.train_images", "data.train_annotations"]
    split = build_data(detbox.compose("data=coco", place, *words)).train
    assert all(path.is_file() for path in split.paths(2))
