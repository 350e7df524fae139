"""Single functions on given inputs: geometry, boxes, losses, attention, denoising."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import load_file

from parity.report import Report
from parity.units import attention, boxes, denoising, geometry, losses

UNITS = {
    "unit_geometry": geometry,
    "unit_boxes": boxes,
    "unit_loss_match_post": losses,
    "unit_ms_deform_attn": attention,
    "unit_cdn": denoising,
}


def test_every_tensor_of_a_unit_is_reproduced(unit_file: Path, report: Report) -> None:
    unit = UNITS[unit_file.stem]
    recorded = load_file(unit_file)
    meta = json.loads((unit_file.parent / "unit.meta.json").read_text())
    report.inputs += [name for name in recorded if unit.is_input(name)]
    report.compare(recorded, unit.ours(recorded, meta))
    report.verify()
