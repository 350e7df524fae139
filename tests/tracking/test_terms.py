"""Loss terms: grouped names, and what reaches the loggers."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from training_toys import ToyModule, loader, trainer

from detbox.console.lines import quiet
from detbox.structures import ENCODER, Origin, Term
from detbox.tracking.loggers import build_loggers
from detbox.tracking.terms import TermsLogger, dashboard_name


@pytest.mark.parametrize(
    ("origin", "final", "shown"),
    [
        (Origin(5, "match"), True, "loss_final/l1"),
        (Origin(0, "match"), False, "loss_aux/decoder0/l1"),
        (Origin(5, "denoise"), False, "loss_denoising/decoder5/l1"),
        (ENCODER, False, "loss_encoder/l1"),
        (Origin(1, "hybrid"), False, "loss_aux/decoder1/hybrid/l1"),
    ],
)
def test_terms_are_grouped_by_what_their_set_is_for(
    origin: Origin, final: bool, shown: str
) -> None:
    assert dashboard_name(Term(origin, "l1", torch.zeros(()), final)) == shown


@pytest.mark.parametrize("accumulate", [1, 2])
def test_loss_and_terms_reach_the_csv_on_logging_steps(tmp_path: Path, accumulate: int) -> None:
    quiet()
    loggers = build_loggers({"name": "csv"}, tmp_path, {})
    fit = trainer(
        tmp_path,
        logger=loggers,
        callbacks=[TermsLogger()],
        log_every_n_steps=2,
        accumulate_grad_batches=accumulate,
    )
    fit.fit(ToyModule(), loader(4 * accumulate), loader(1))
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [1, 3]
    for row in rows:
        parts = [float(v) for k, v in row.items() if k.startswith("loss_")]
        assert len(parts) == 8
        assert float(row["train/loss"]) == pytest.approx(sum(parts), rel=1e-5)
