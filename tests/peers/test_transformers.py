"""Our detectors beside those of transformers: same weights, same maps, same predictions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

pytest.importorskip("transformers", reason="transformers is not installed; it needs Python 3.11")

from peer_names import taken
from peer_pairs import (
    DENSE,
    LAYERS,
    PEERS,
    TARGETS,
    Pair,
    assert_close,
    composed,
    pair,
    shortened,
)

import detbox

TERMS = {"class": "ce", "l1": "bbox", "giou": "giou"}


@pytest.mark.parametrize("name", PEERS)
def test_every_layer_predicts_what_the_peer_predicts(name: str) -> None:
    both = pair(name)
    assert not both.unread
    found = both.predicted()
    for layer in range(LAYERS):
        with torch.no_grad():
            theirs = both._replace(theirs=shortened(both.theirs, layer + 1)).run_theirs()
        assert_close(found[f"decoder{layer}/match"].logits, theirs.logits)
        assert_close(found[f"decoder{layer}/match"].boxes, theirs.pred_boxes)


def test_proposals_are_those_of_the_peer() -> None:
    both = pair("deformable_detr_two_stage")
    ours = both.predicted()["encoder"]
    with torch.no_grad():
        theirs = both.run_theirs()
    assert_close(ours.logits, theirs.enc_outputs_class)
    assert_close(ours.boxes, theirs.enc_outputs_coord_logits.sigmoid())


@pytest.mark.parametrize("name", PEERS)
def test_losses_and_gradients_are_those_of_the_peer(name: str) -> None:
    cfg = composed(name)
    both = pair(name, auxiliary_loss=name not in DENSE, class_cost=int(cfg.matcher.class_weight))
    theirs = terms_of(both.run_theirs(TARGETS).loss_dict, cfg.criterion.weights)
    every = detbox.build_criterion(cfg)(both.ours(both.images, TARGETS), TARGETS)
    ours = {term: every[term] for term in theirs}
    for term, value in theirs.items():
        assert_close(ours[term], value)
    for terms in (ours, theirs):
        torch.stack(list(terms.values())).sum().backward()
    assert_equal_gradients(both, name)


def terms_of(losses: dict[str, Tensor], weights: dict[str, float]) -> dict[str, Tensor]:
    """The peer's terms under our names, weighted as ours."""
    suffixes = {layer: f"_{layer}" for layer in range(LAYERS - 1)} | {LAYERS - 1: ""}
    return {
        f"decoder{layer}/match/{own}": weights[own] * losses[f"loss_{term}{suffix}"]
        for layer, suffix in suffixes.items()
        for own, term in TERMS.items()
        if f"loss_{term}{suffix}" in losses
    }


def assert_equal_gradients(both: Pair, name: str) -> None:
    """Compare every parameter's, each on the scale of its largest."""
    everything = both.theirs.named_parameters(remove_duplicate=False)
    theirs = {each: gradient(parameter) for each, parameter in everything}
    own = dict(both.ours.named_parameters())
    expected = taken(theirs, list(own), PEERS[name].rules, LAYERS)
    for each, parameter in own.items():
        scale = float(expected[each].abs().max())
        found = gradient(parameter)
        # A bias before a norm learns next to nothing: what is left there is float32 noise.
        assert torch.allclose(found, expected[each], rtol=1e-3, atol=3e-6 + 1e-4 * scale), each


def gradient(parameter: Tensor) -> Tensor:
    """The gradient, zeros where there is none."""
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
