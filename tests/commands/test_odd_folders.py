"""A day's work in a folder whose name has everything, by real commands, typed without quotes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from coco_files import box, image, write_files
from odd_names import ODDEST
from tiny import MODEL, TRAINER, run

NAMES = ("valve [/off]", "猫\n[red]")
SIZES = ("data.train_sizes=[64]", "data.eval_size=64", "data.max_size=64", "data.crop=false")
SMALL = (*SIZES, "data.batch_size=2", "data.workers=0")
RUNS = ODDEST.replace("${e} ", "")
"""where Hydra can write"""


def write_data(root: Path) -> None:
    root.mkdir()
    categories = [{"id": label + 1, "name": name} for label, name in enumerate(NAMES)]
    for split in ("train", "val"):
        images = [{**image(n), "file_name": f"{RUNS[:20]} {n}.png"} for n in (1, 2)]
        boxes = [box(n, n, [8, 8, 30, 30], category_id=n) for n in (1, 2)]
        write_files(root, split, images=images, annotations=boxes, categories=categories)


@pytest.mark.slow
def test_train_evaluate_predict_under_the_oddest_name(tmp_path: Path) -> None:
    write_data(tmp_path / ODDEST)
    options = (*SMALL, *MODEL, *TRAINER, "trainer.max_epochs=1", f"hydra.run.dir={RUNS}/run")
    trained = run("train", f"data={ODDEST}", *options, folder=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert "valve [/off]" in trained.stdout
    assert r"猫\n[red]" in trained.stdout

    given = f"ckpt={RUNS}/run", f"data={tmp_path}/{ODDEST}", f"hydra.run.dir={RUNS}/evaluated"
    evaluated = run("evaluate", *given, folder=tmp_path)
    assert evaluated.returncode == 0, evaluated.stderr
    ours, theirs = (
        json.loads((tmp_path / RUNS / name / "detections.json").read_text())
        for name in ("run", "evaluated")
    )
    assert ours == theirs

    given = f"ckpt={RUNS}/run", f"source={ODDEST}/val/*.png", f"hydra.run.dir={RUNS}/shown"
    predicted = run("predict", *given, "threshold=0", folder=tmp_path)
    assert predicted.returncode == 0, predicted.stderr
    text = (tmp_path / RUNS / "shown" / "predictions.json").read_text(encoding="utf-8")
    listed = json.loads(text)["images"]
    assert [entry["picture"] for entry in listed] == [f"{RUNS[:20]} {n}.jpg" for n in (1, 2)]
    assert {each["name"] for entry in listed for each in entry["detections"]} <= set(NAMES)
