"""Prediction from files, folders and checkpoints, with a detector that finds what it is told."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from torch import Tensor, nn

import detbox
from detbox import predictor as predictor_module
from detbox.data import images
from detbox.data.images import ImageLike
from detbox.data.sources import find_images
from detbox.data.transforms import Display
from detbox.errors import SettingError
from detbox.postprocess import Postprocess
from detbox.predicting import predict_to_folder
from detbox.predictor import Predictor, load
from detbox.structures import ImageBatch, LabelSpace, Origin, Outputs, PredictionSet, Targets

CPU = torch.device("cpu")
CONFIG = {
    "data": {"name": "coco", "eval_size": 32, "max_size": 64},
    "postprocess": {"name": "top", "num_select": 5, "nms_iou": None},
}


class BrightnessDetector(nn.Module):
    """One query, in the middle of the image; its class is as bright as the image."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.eye(num_classes) * 4)
        self.seen: list[tuple[int, ...]] = []

    def forward(self, images: ImageBatch, targets: Targets | None = None) -> Outputs:
        self.seen.append(tuple(images.pixels.shape))
        inside = ~images.mask
        light = (images.pixels[:, 0] * inside).flatten(1).sum(1) / inside.flatten(1).sum(1)
        label = (light / 256 * len(self.table)).long()
        boxes = torch.tensor([0.5, 0.5, 0.5, 0.5]).expand(len(label), 1, 4)
        return Outputs(PredictionSet(Origin(0, "match"), self.table[label][:, None], boxes), ())


def space(*ids: int) -> LabelSpace:
    return LabelSpace(tuple(f"class {number}" for number in ids), ids)


def predictor(label_space: LabelSpace | None = None) -> Predictor:
    label_space = label_space or space(3, 5, 9)
    detector = BrightnessDetector(len(label_space))
    return Predictor(detector, Postprocess(5), label_space, Display(32, 64), CPU)


def grey(level: int, width: int = 60, height: int = 40) -> np.ndarray:
    return np.full((height, width, 3), level, dtype=np.uint8)


def save(folder: Path, name: str, level: int = 10) -> Path:
    Image.fromarray(grey(level)).save(folder / name)
    return folder / name


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file as training writes it, for the detector above."""

    def build(cfg: DictConfig, num_classes: int) -> nn.Module:
        return BrightnessDetector(num_classes)

    monkeypatch.setattr(predictor_module, "build_detector", build)
    return write(tmp_path / "last.ckpt", space(3, 5, 9))


def write(path: Path, label_space: LabelSpace, **state: Tensor) -> Path:
    detector = BrightnessDetector(len(label_space))
    weights = {f"detector.{name}": tensor for name, tensor in detector.state_dict().items()}
    stored: dict[str, Any] = {"config": CONFIG, "label_space": label_space.to_dict()}
    torch.save({"detbox": stored, "state_dict": {**weights, **state}}, path)
    return path


@pytest.mark.parametrize("ids", [(0, 1, 2), (1, 2, 3), (3, 5, 90)])
def test_names_survive_the_checkpoint_for_any_ids(checkpoint: Path, ids: tuple[int, ...]) -> None:
    loaded = load(write(checkpoint, space(*ids)), "cpu")
    assert loaded.names == space(*ids).names
    dark, bright = loaded.predict([grey(0), grey(250)])
    assert dark.names[0] == f"class {ids[0]}"
    assert bright.names[0] == f"class {ids[2]}"


def test_one_picture_gives_a_list_of_one(tmp_path: Path) -> None:
    path = save(tmp_path, "a.png")
    for source in (path, str(path), grey(10), Image.fromarray(grey(10))):
        assert len(predictor().predict(source)) == 1


def test_all_kinds_of_sources_give_the_same(tmp_path: Path) -> None:
    path = save(tmp_path, "a.png")
    sources: list[ImageLike] = [path, str(path), grey(10), Image.fromarray(grey(10))]
    first, *others = predictor().predict(sources)
    for other in others:
        assert torch.equal(first.scores, other.scores)
        assert torch.equal(first.boxes, other.boxes)
        assert first.names == other.names


def test_boxes_are_pixels_of_the_original() -> None:
    wide, tall = predictor().predict([grey(10, 200, 100), grey(10, 60, 120)])
    assert wide.boxes[0].tolist() == [50, 25, 150, 75]
    assert tall.boxes[0].tolist() == [15, 30, 45, 90]


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_batches_do_not_change_the_detections(batch_size: int) -> None:
    sources = [grey(level, 40 + level, 40) for level in (0, 90, 100, 200, 250)]
    found = predictor().predict(sources, batch_size=batch_size)
    assert [each.labels[0].item() for each in found] == [0, 1, 1, 2, 2]


def test_pictures_are_resized_as_in_evaluation() -> None:
    model = predictor()
    model.predict([grey(10, 128, 64), grey(10, 400, 100)], batch_size=1)
    assert model.detector.seen == [(1, 3, 32, 64), (1, 3, 16, 64)]


def test_every_detection_has_a_name_and_reaches_the_threshold() -> None:
    model = predictor()
    (every,), (some,) = model.predict(grey(0)), model.predict(grey(0), threshold=0.6)
    assert len(every.names) == len(every.scores) == 3
    assert some.names == ("class 3",)


def test_no_pictures_give_no_detections() -> None:
    assert predictor().predict([]) == []


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        load(tmp_path / "none.ckpt")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x02garbage"])
def test_other_files_are_no_checkpoints(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.ckpt").write_bytes(content)
    with pytest.raises(ValueError, match=r"is no (detbox checkpoint|file of tensors)"):
        load(tmp_path / "a.ckpt")


@pytest.mark.parametrize("content", [{"state_dict": {}}, [1, 2], {"model": {}}])
def test_checkpoints_of_others_are_told_apart(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match="it lacks"):
        load(tmp_path / "a.ckpt")


def test_code_in_a_checkpoint_is_not_executed(tmp_path: Path) -> None:
    torch.save({"detbox": Display, "state_dict": {}}, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match="nothing was executed"):
        load(tmp_path / "a.ckpt")


def test_tensors_that_do_not_fit_are_named(checkpoint: Path) -> None:
    write(checkpoint, space(3, 5, 9), **{"detector.ghost": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"1 left over \(ghost\)"):
        load(checkpoint)
    write(checkpoint, space(3, 5, 9), **{"detector.table": torch.zeros(2, 2)})
    with pytest.raises(ValueError, match=r"1 unlike \(table"):
        load(checkpoint)
    content = torch.load(checkpoint, weights_only=True)
    torch.save({**content, "state_dict": {}}, checkpoint)
    with pytest.raises(ValueError, match=r"1 missing \(table\)"):
        load(checkpoint)


def test_a_folder_gives_its_images_and_names_the_rest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("b.png", "a.JPG", "c.webp"):
        save(tmp_path, name)
    (tmp_path / "notes.txt").write_text("x")
    for folder in (".thumbnails", "inner", "run", "run/.hydra"):
        (tmp_path / folder).mkdir()
        save(tmp_path / folder, "d.png")
    assert [path.name for path in find_images(tmp_path)] == ["a.JPG", "b.png", "c.webp", "d.png"]
    assert find_images(tmp_path)[-1].parent.name == "inner"
    assert "1 file is no image: notes.txt" in caplog.text


def test_a_pattern_gives_its_matches(tmp_path: Path) -> None:
    for name in ("a1.png", "a2.png", "b.png"):
        save(tmp_path, name)
    assert [path.name for path in find_images(f"{tmp_path}/a*.png")] == ["a1.png", "a2.png"]


def test_a_file_with_a_bracket_in_its_name_is_a_file(tmp_path: Path) -> None:
    assert find_images(save(tmp_path, "a[1].png")) == [tmp_path / "a[1].png"]


def test_nothing_of_that_name_and_no_images_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no file, folder or match"):
        find_images(tmp_path / "none*")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ValueError, match="1 file but no image"):
        find_images(tmp_path)


def test_a_folder_of_predictions_tells_all(tmp_path: Path) -> None:
    written = predict_to_folder(predictor(), [save(tmp_path, "a.png", 250)], tmp_path / "out", 0.6)
    content = json.loads(written.predictions.read_text())
    assert content["skipped"] == []
    (entry,) = content["images"]
    (detection,) = entry.pop("detections")
    source = str(tmp_path / "a.png")
    assert entry == {"file": source, "picture": "a.jpg", "height": 40, "width": 60}
    assert detection["name"] == "class 9"
    assert detection["category_id"] == 9
    assert detection["box"] == [15, 10, 45, 30]
    assert detection["score"] == pytest.approx(torch.tensor(4.0).sigmoid().item(), abs=1e-6)
    with Image.open(written.pictures[0]) as picture:
        assert picture.size == (60 * 8, 40 * 8)


def test_an_unreadable_image_is_skipped_and_listed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "b.png"
    broken.write_bytes(b"no picture")
    save(tmp_path, "a.png")
    save(tmp_path, "c.png")
    (tmp_path / "d.png").symlink_to("nowhere.png")
    written = predict_to_folder(predictor(), find_images(tmp_path), tmp_path / "out")
    content = json.loads(written.predictions.read_text())
    assert [Path(entry["file"]).name for entry in content["images"]] == ["a.png", "c.png"]
    assert [Path(entry["file"]).name for entry in content["skipped"]] == ["b.png", "d.png"]
    assert written.skipped == 2
    assert re.search("2 images could not be read: .*b.png.*d.png", caplog.text)


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="none of 1 image could be read"):
        predict_to_folder(predictor(), [tmp_path / "a.png"], tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_equal_stems_do_not_overwrite_each_other(tmp_path: Path) -> None:
    sources = [save(tmp_path, name) for name in ("a.png", "a.bmp", "a-2.png")]
    written = predict_to_folder(predictor(), sources, tmp_path / "out")
    assert len({path for path in written.pictures if path.is_file()}) == 3


@pytest.mark.parametrize("name", ["a[1]", "*", "caf\udce9", "猫", "a\nb", "~a"])
def test_pictures_of_any_name_are_found_and_listed(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    save(tmp_path / name, f"{name}.png")
    (source,) = find_images(tmp_path / name / "*.png")
    assert [source] == find_images(tmp_path / name) == find_images(source)
    written = predict_to_folder(predictor(), [source], tmp_path / "out" / name)
    (listed,) = json.loads(written.predictions.read_text(encoding="utf-8"))["images"]
    assert (listed["file"], listed["picture"]) == (str(source), f"{name}.jpg")
    assert (written.predictions.parent / listed["picture"]).is_file()


def test_sources_are_never_overwritten(tmp_path: Path) -> None:
    path = save(tmp_path, "a.jpg")
    before = path.read_bytes()
    with pytest.raises(ValueError, match="among their sources"):
        predict_to_folder(predictor(), [path], tmp_path)
    assert path.read_bytes() == before


def test_boxes_of_a_picture_that_is_read_reduced_are_those_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(grey(10, 640, 400)).save(tmp_path / "a.jpg")
    whole = predictor().predict(tmp_path / "a.jpg")
    monkeypatch.setattr(images, "LARGE", 1000)
    found = predictor().predict(tmp_path / "a.jpg")
    assert torch.equal(found[0].boxes, whole[0].boxes)
    assert found[0].boxes[0].tolist() == [160, 100, 480, 300]


def test_a_run_reads_pictures_in_prediction_as_it_did_in_training(checkpoint: Path) -> None:
    stored = torch.load(checkpoint, weights_only=True)
    cfg = detbox.compose("data=folder", "data.pixel_range=12")
    stored["detbox"]["config"]["data"] = OmegaConf.to_container(cfg.data)
    torch.save(stored, checkpoint)
    dark, bright = (np.full((40, 60), level, np.uint16) for level in (300, 3900))
    bright[0] = dark[0] = 100
    found = load(checkpoint, "cpu").predict([dark, bright])
    assert [each.names[0] for each in found] == ["class 3", "class 9"]


def test_what_is_wrong_with_sources_is_said_once_with_a_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    level = np.arange(60, dtype=np.uint16) * 60
    files = [tmp_path / f"{number}.png" for number in range(3)]
    for file in files:
        Image.fromarray(np.tile(level, (40, 1))).save(file)
    predictor().predict(files, batch_size=1)
    named, counted = (record.message for record in caplog.records)
    assert "0.png: taken to hold values from 0 to 4095" in named
    assert "3 files" in counted


class WideDetector(BrightnessDetector):
    """Its one box reaches a quarter of the picture beyond every edge."""

    def forward(self, images: ImageBatch, targets: Targets | None = None) -> Outputs:
        found = super().forward(images, targets).prediction
        return Outputs(found._replace(boxes=found.boxes + torch.tensor([0, 0, 1.0, 1.0])), ())


def test_boxes_end_at_the_edges_unless_the_raw_ones_are_asked_for(tmp_path: Path) -> None:
    wide = Predictor(WideDetector(3), Postprocess(5), space(3, 5, 9), Display(32, 64), CPU)
    (cut,), (raw,) = wide.predict(grey(10)), wide.predict(grey(10), clip=False)
    assert cut.boxes[0].tolist() == [0, 0, 60, 40]
    assert raw.boxes[0].tolist() == [-15, -10, 75, 50]
    written = predict_to_folder(wide, [save(tmp_path, "a.png")], tmp_path / "out", 0.5)
    (entry,) = json.loads(written.predictions.read_text())["images"]
    assert entry["detections"][0]["box"] == [0, 0, 60, 40]


@pytest.mark.parametrize("address", ["http://a.org/b.jpg", "s3://a/b.jpg", "https:/a.org/b.jpg"])
def test_an_address_is_refused_with_the_way_to_fetch_it(address: str) -> None:
    for ask in (predictor().predict, find_images):
        with pytest.raises(SettingError, match=r"is an address.*curl -LO \w+://a"):
            ask(address)
    with pytest.raises(SettingError, match="is an address"):
        predictor().predict(Path(address))


def test_nonsense_is_refused() -> None:
    with pytest.raises(SettingError, match="threshold must be from 0 to 1, got 2"):
        predictor().predict(grey(10), threshold=2)
    with pytest.raises(SettingError, match="batch_size must be at least 1, got 0"):
        predictor().predict(grey(10), batch_size=0)


@pytest.mark.parametrize(("threshold", "told"), [(0.99, "threshold=0.98"), (0.5, "")])
def test_pictures_in_which_nothing_was_found_are_counted(
    threshold: float, told: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "detbox")
    predict_to_folder(predictor(), [save(tmp_path, "a.png")], tmp_path / "out", threshold)
    assert told in caplog.text
    assert ("nothing was found in 1 of 1 picture," in caplog.text) == bool(told)
