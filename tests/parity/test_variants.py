"""The family's other models: each recorded tensor of small and of full-size ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from detbox.build import compose
from detbox.official.layouts import official_names
from detbox.registry import OPTIMIZERS
from parity import amplified
from parity.report import Report
from parity.tolerances import FULL_VARIANT, VARIANT, Rule
from parity.variants import INPUTS, prepare, published, read, replay


def test_every_tensor_of_a_variant_is_reproduced(variant_file: Path, report: Report) -> None:
    _check(variant_file, report, VARIANT)


@pytest.mark.slow
def test_every_tensor_of_a_full_size_variant_is_reproduced(
    full_variant_file: Path, report: Report
) -> None:
    if amplified.is_amplified(full_variant_file):
        report.inputs += [name for name in read(full_variant_file).tensors if _is_input(name)]
        amplified.compare(full_variant_file, report)
        report.verify()
    else:
        _check(full_variant_file, report, FULL_VARIANT)


EXPERIMENTS = {
    "detr_r50": "detr_r50_300e",
    "dab_detr_r50": "dab_detr_r50_50e",
    "dn_dab_detr_r50": "dn_detr_r50_50e",
    "deformable_detr_r50": "deformable_detr_r50_50e",
    "dab_deformable_detr_r50": "dab_deformable_detr_r50_50e",
    "dn_dab_deformable_detr_r50": "dn_deformable_detr_r50_50e",
}
SHARES = {"backbone": 0.1, "linear_proj_x0.1": 0.1, "main": 1.0}


def test_learning_rates_are_shared_out_as_by_the_official_optimizer(groups_file: Path) -> None:
    stem = groups_file.name.partition(".")[0]
    experiment = EXPERIMENTS.get(stem.partition("_refine")[0])
    if experiment is None:
        pytest.skip(f"no experiment that trains {stem}")
    with torch.device("meta"):
        detector = published(stem)
    cfg, names = compose(f"experiment={experiment}").optimizer, official_names(detector)
    theirs = json.loads(groups_file.read_text())
    for group in OPTIMIZERS.build(cfg, detector).param_groups:
        for name in group["parameter_names"]:
            (share,) = {SHARES[theirs[each]] for each in names[name] if each in theirs}
            assert group["lr"] == pytest.approx(share * cfg.lr), name


def _is_input(name: str) -> bool:
    return name.startswith(INPUTS)


def _check(file: Path, report: Report, rules: tuple[Rule, ...]) -> None:
    recording = read(file)
    recorded = recording.tensors
    report.inputs += [name for name in recorded if _is_input(name)]
    report.compare(recorded, replay(prepare(recording)), rules)
    report.verify()
