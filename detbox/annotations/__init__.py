"""Annotations of any format as one type; importing this registers every format."""

from __future__ import annotations

from detbox.annotations.coco import coco, read_coco
from detbox.annotations.csv import csv
from detbox.annotations.cvat import cvat
from detbox.annotations.findings import Finding
from detbox.annotations.formats import Format, Source
from detbox.annotations.labelme import labelme
from detbox.annotations.packing import Images, Objects, pack
from detbox.annotations.split import Split
from detbox.annotations.voc import voc
from detbox.annotations.yolo import yolo

__all__ = [
    "Finding",
    "Format",
    "Images",
    "Objects",
    "Source",
    "Split",
    "coco",
    "csv",
    "cvat",
    "labelme",
    "pack",
    "read_coco",
    "voc",
    "yolo",
]
