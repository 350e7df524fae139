"""Full-size models with their real backbones, on weights by rule and official names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from parity import full_names
from parity.full_size import read, replay
from parity.recipe import criterion_from
from parity.replay import targets_of
from parity.report import Report
from parity.tolerances import FULL, PRECISE

INPUTS = ("tgt/", "in/", "dn/draw_")


@pytest.mark.slow
def test_every_tensor_of_a_full_size_pass_is_reproduced(full_file: Path, report: Report) -> None:
    recording = read(full_file)
    recorded = recording.tensors
    precise = {name for name in recorded if "64" in name.split("/")[0]}
    report.inputs += [name for name in recorded if name.startswith(INPUTS)]
    report.compare(
        {name: tensor for name, tensor in recorded.items() if name not in precise},
        full_names.ours(replay(recording), recording),
        FULL,
    )
    if precise:
        played = replay(recording, torch.float64)
        targets = targets_of(recorded, "tgt/", "/")
        criterion = criterion_from(recording.settings)
        total = full_names.losses_of(played, targets, criterion)["loss_total"]
        ours = full_names.gradients(played, total, recorded, "grad64") | {"loss64_total": total}
        report.compare({name: recorded[name] for name in precise}, ours, PRECISE)
    report.verify()
