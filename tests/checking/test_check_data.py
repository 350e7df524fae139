"""`detbox check_data`: what it leaves, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from planted import annotation, classes, name, write

import detbox
from detbox.commands.check_data import as_trained, check_data
from detbox.errors import DataError, SettingError


def run(root: Path, folder: Path, *settings: str) -> dict[str, object]:
    """The report, of a command that is given its folder."""
    folder.mkdir()
    cfg = detbox.compose(f"data.root='{root}'", *settings, config_name="check_data")
    try:
        check_data(cfg, folder)
    finally:
        assert (folder / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    report: dict[str, object] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return report


def test_errors_end_it_and_the_report_names_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write(tmp_path / "ü [a], b", annotation(5, bbox=[4, 4, 0, 9]))
    with pytest.raises(DataError, match=r"1 error in .*look at .*report\.html"):
        run(root, tmp_path / "out")
    assert "error    1 box without an area (annotation 5 of train's 02" in capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["status"] == 1
    (own,) = report["defects"][0]["examples"]
    assert own == {
        **{"split": "train", "file": name(2), "image_id": 3, "note": ""},
        **{"annotation_ids": [5], "boxes": [[4, 4, 0, 9]]},
    }


def test_warnings_leave_the_status_at_0(tmp_path: Path) -> None:
    root = write(tmp_path / "set", classes((0, "parts"), (1, "bolt"), (2, "nut")))
    report = run(root, tmp_path / "out", "alike=false", "decode=true")
    assert report["status"] == 0
    assert set(report["splits"]) == {"train", "val"}  # type: ignore[call-overload]


def test_pictures_are_as_large_as_a_plan_would_have_them(tmp_path: Path) -> None:
    root = write(tmp_path / "set")
    settings = ("experiment=finetune", f"data.root={root}")
    cfg = as_trained(detbox.compose(*settings, config_name="check_data"))
    assert cfg.data.eval_size == max(cfg.data.train_sizes) < 800


def test_a_switch_is_true_or_false(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="decode must be true or false, got 'maybe'"):
        check_data(detbox.compose("decode=maybe", config_name="check_data"), tmp_path)


def test_a_repaired_copy_decides_how_it_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write(tmp_path / "set", annotation(5, bbox=[4, 4, 0, 9]))
    report = run(root, tmp_path / "out", f"fix='{tmp_path / 'new [1]'}'")
    assert report["status"] == 1  # of what was checked
    assert "new [1]: 44 images, 87 boxes, 2 classes: 0 errors" in capsys.readouterr().out
    with pytest.raises(SettingError, match="give a folder that is new or empty"):
        check_data(
            detbox.compose(f"data.root={root}", f"fix={root}", config_name="check_data"), tmp_path
        )
