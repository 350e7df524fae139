"""Loss terms: grouped names, and what reaches the loggers."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from training_toys import ToyModule, loader, trainer

from detbox.console.lines import quiet
from detbox.tracking.loggers import build_loggers
from detbox.tracking.terms import TermsLogger, group_terms


def test_terms_are_grouped_by_what_their_set_is_for() -> None:
    terms = {
        "decoder5/match/class": 1,
        "decoder0/match/class": 2,
        "decoder0/denoise/giou": 3,
        "decoder5/denoise/giou": 4,
        "encoder/l1": 5,
    }
    assert group_terms(terms, "decoder5/match") == {
        "loss_final/class": 1,
        "loss_aux/decoder0/class": 2,
        "loss_denoising/decoder0/giou": 3,
        "loss_denoising/decoder5/giou": 4,
        "loss_encoder/l1": 5,
    }


def test_the_last_decoder_layer_is_final_unless_told_otherwise() -> None:
    terms = {f"decoder{layer}/match/class": layer for layer in (2, 10, 9)}
    assert group_terms(terms)["loss_final/class"] == 10
    assert group_terms(terms, "decoder2/match")["loss_final/class"] == 2


def test_other_groups_of_queries_stay_apart() -> None:
    terms = {"decoder0/match/class": 0, "decoder1/match/class": 1, "decoder1/hybrid/class": 2}
    assert group_terms(terms)["loss_aux/decoder1/hybrid/class"] == 2


def test_no_two_terms_share_a_name() -> None:
    sets = ("match", "denoise", "hybrid")
    terms = {f"decoder{n}/{s}/{x}": 0 for n in range(6) for s in sets for x in ("class", "l1")}
    assert len(group_terms({**terms, "encoder/class": 0})) == len(terms) + 1


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
