"""The harness itself: what it must not let through."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from parity.folders import unclaimed
from parity.report import Report
from parity.ties import aligned_matches
from parity.tolerances import distance


def test_an_unknown_tensor_is_a_fault() -> None:
    report = Report("file")
    report.compare({"mid.other": torch.zeros(2), "loss.ce": torch.ones(())}, {})
    assert len(report.faults) == 2


def test_a_tensor_beyond_its_limit_is_a_fault() -> None:
    report = Report("file")
    report.compare({"out.pred_boxes": torch.zeros(4)}, {"out.pred_boxes": torch.full((4,), 1e-5)})
    with pytest.raises(AssertionError, match=r"out\.pred_boxes"):
        report.verify()


def test_a_report_without_checks_fails() -> None:
    with pytest.raises(AssertionError, match="nothing was compared"):
        Report("file").verify()


@pytest.mark.parametrize("measure", ["absolute", "scaled", "relative", "norm"])
def test_what_is_not_a_number_or_of_another_shape_is_infinitely_far(measure: str) -> None:
    recorded = torch.tensor([1.0, 2.0])
    assert not distance(torch.tensor([1.0, torch.nan]), recorded, measure) < 1e9
    assert distance(torch.zeros(3), recorded, measure) == float("inf")
    assert not distance(torch.tensor([1.0, torch.inf]), recorded, measure) < 1e9


def test_equal_infinities_are_equal() -> None:
    anchors = torch.tensor([torch.inf, 1.0])
    assert distance(anchors, anchors.clone(), "absolute") == 0


def test_only_queries_of_equal_cost_may_be_exchanged() -> None:
    recorded = {
        "m.cost": torch.tensor([[1.0], [1.0], [2.0]]),
        "m.pred_idx": torch.tensor([0]),
        "m.tgt_idx": torch.tensor([0]),
    }
    for query, accepted in ((1, 0), (2, 2)):
        found = {"m.pred_idx": torch.tensor([query]), "m.tgt_idx": torch.tensor([0])}
        assert aligned_matches(recorded, found)["m.pred_idx"].tolist() == [accepted]


def test_a_file_that_no_test_answers_for_is_found() -> None:
    strange = Path("goldens/dino/case9.something.safetensors")
    assert unclaimed([strange, Path("goldens/dino/case9.eval.safetensors")]) == [strange]
