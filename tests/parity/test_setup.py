"""Where training starts: initial values, frozen parameters and optimizer groups."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from detbox.build import compose
from detbox.official.layouts import official_names
from detbox.registry import OPTIMIZERS
from parity.full_size import full_detector, real_backbone
from parity.recipe import detector_from
from parity.report import Check, Report
from parity.statistics import Statistics, statistics_of, unlikeness
from parity.tolerances import Tolerance

WHY = "values of a backbone that always starts from pretrained weights"


def test_frozen_parameters_and_optimizer_groups_are_the_recorded_ones(setup_file: Path) -> None:
    setup = json.loads(setup_file.read_text())
    with torch.device("meta"):
        detector = full_detector(setup["config_used"])
    aliases = official_names(detector)
    frozen = [name for name, p in detector.named_parameters() if not p.requires_grad]
    assert {aliases[name][0] for name in frozen} == set(setup["frozen_parameter_names"])

    recorded = setup["param_groups"][setup["param_dict_type_in_config"]]["groups"]
    optimizer = OPTIMIZERS.build(compose().optimizer, detector)
    assert len(optimizer.param_groups) == len(recorded)
    for group in optimizer.param_groups:
        names = {alias for name in group["parameter_names"] for alias in aliases[name]}
        theirs = next(each for each in recorded if each["names"][0] in names)
        unused = {name for name in theirs["names"] if ".norm0." in name}
        assert set(theirs["names"]) - unused <= names
        assert len(group["params"]) == theirs["n_tensors"] - len(unused)
        assert group["lr"] == pytest.approx(theirs["lr"])
        assert group["weight_decay"] == theirs["weight_decay"]
        assert (*group["betas"], group["eps"]) == (
            *setup["optimizer"]["betas"],
            setup["optimizer"]["eps"],
        )


def test_initial_values_are_distributed_as_recorded(setup_file: Path, report: Report) -> None:
    setup = json.loads(setup_file.read_text())
    torch.manual_seed(0)
    settings, recorded = setup["config_used"], setup["init_stats_seed0"]
    # Frozen ResNets are compared whole; the others are too large to be made for ten tensors.
    own = settings["backbone"].startswith("resnet")
    with torch.device("cpu" if own else "meta"):
        backbone = real_backbone(settings)
    report.aside |= {name: WHY for name in recorded if name.startswith("backbone.") and not own}
    detector = detector_from(settings, backbone)
    aliases = official_names(detector)
    for name, parameter in detector.named_parameters():
        for alias in aliases[name]:
            if alias in recorded and alias not in report.aside:
                _compare(alias, parameter, recorded[alias], report)
    known = {check.tensor for check in report.checks} | set(report.aside)
    report.unknown += [name for name in recorded if name not in known]
    report.verify()


def _compare(name: str, parameter: torch.Tensor, recorded: list[Any], report: Report) -> None:
    error = unlikeness(statistics_of(parameter), Statistics(*recorded[:4]), parameter.numel())
    report.checks.append(Check(name, error, Tolerance("spread", 1.0)))
    assert parameter.requires_grad == recorded[4], name
