"""Groups of several query makers beside each other: one-to-many branches and denoising."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from scenes import random_targets
from small_models import criterion, images, small
from torch import Tensor, nn

from detbox.models.detector import Detector
from detbox.models.query_groups import with_group
from detbox.structures import Memory, Outputs, PredictionSet, Queries, QueryGroup

REPEATS, MANY = 2, 12
TARGETS = random_targets(3, 1)
IMAGES = images((48, 64), (32, 48))


class HybridQueries(nn.Module):
    """Learnt queries beside a source's own, each target to be found twice (Jia et al., 2023)."""

    def __init__(self, source: nn.Module, hidden_dim: int) -> None:
        super().__init__()
        self.source = source
        self.content = nn.Parameter(torch.randn(MANY, hidden_dim))
        self.anchors = nn.Parameter(torch.randn(MANY, 4))

    def forward(self, memory: Memory) -> tuple[Queries, tuple[PredictionSet, ...]]:
        queries, found = self.source(memory)
        if not self.training:
            return queries, found
        content, anchors = (
            x.expand(len(memory.tokens), -1, -1) for x in (self.content, self.anchors)
        )
        group = QueryGroup("many", MANY, repeats=REPEATS)
        return with_group(queries, content, anchors, group), found


def hybrid(**settings: Any) -> Detector:
    """A small DINO with such a branch."""
    detector = small("dino", **settings)
    detector.query_source = HybridQueries(detector.query_source, 32)
    return detector


def queries_of(detector: Detector) -> Queries:
    """What the decoder starts from in a training step."""
    seen: list[Queries] = []
    hook = detector.decoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    detector(IMAGES, TARGETS)
    hook.remove()
    return seen[0]


def test_no_group_is_seen_by_the_groups_that_inference_reads() -> None:
    queries = queries_of(hybrid(num_denoising=4))
    assert [group.name for group in queries.groups] == ["denoise", "many", "match"]
    denoise, many = queries.groups[0].size, queries.groups[0].size + MANY
    blocked = queries.blocked
    assert blocked is not None
    assert blocked[denoise:many, :denoise].all()
    assert blocked[denoise:many, many:].all()
    assert blocked[many:, :many].all()
    assert blocked[:denoise, denoise:many].all()
    assert not blocked[denoise:many, denoise:many].any()
    assert not blocked[:, many:][:denoise].any()
    assert not blocked[many:, many:].any()


def test_masks_of_groups_that_are_there_are_kept() -> None:
    own = torch.rand(5, 5) > 0.5
    queries = Queries(
        torch.zeros(1, 5, 8), torch.zeros(1, 5, 4), None, own, (QueryGroup("match", 5),)
    )
    group = QueryGroup("many", 3)
    inner = torch.rand(3, 3) > 0.5
    added = (torch.zeros(1, 3, 8), torch.zeros(1, 3, 4))
    joined = with_group(queries, *added, group, blocked=inner, sees=("match",))
    expected = torch.ones(8, 8, dtype=torch.bool)
    expected[:3, :3], expected[3:, 3:], expected[:3, 3:] = inner, own, False
    assert joined.blocked is not None
    assert torch.equal(joined.blocked, expected)


@pytest.mark.parametrize("denoising", [0, 4])
def test_the_other_groups_leave_the_matching_queries_as_they_are(denoising: int) -> None:
    detector = hybrid(num_denoising=denoising)
    with_branch = _terms(detector, detector(IMAGES, TARGETS))
    detector.query_source = detector.query_source.get_submodule("source")
    without = _terms(detector, detector(IMAGES, TARGETS))
    for name, term in without.items():
        if "denoise" not in name:
            torch.testing.assert_close(with_branch[name], term)
    many = {name for name in with_branch if "/many/" in name}
    assert many == {f"decoder{layer}/many/{x}" for layer in (0, 1) for x in ("focal", "l1", "giou")}


def test_the_other_groups_leave_the_gradient_of_the_matching_terms_as_it_is() -> None:
    detector = hybrid(num_denoising=4)
    with_branch = _match_gradients(detector)
    detector.query_source = detector.query_source.get_submodule("source")
    without = _match_gradients(detector)
    assert len(without) > 50
    for name, gradient in without.items():
        other = with_branch[name.replace("query_source.", "query_source.source.")]
        torch.testing.assert_close(other, gradient, rtol=1e-4, atol=1e-5, msg=name)


def test_every_group_learns_in_one_step() -> None:
    detector = hybrid(num_denoising=4)
    sum(criterion()(detector(IMAGES, TARGETS), TARGETS).values()).backward()
    for name, parameter in detector.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_inference_reads_the_matching_queries_alone() -> None:
    detector = hybrid().eval()
    outputs = detector(IMAGES)
    assert {each.origin.group for each in outputs.all} == {"match", "encoder"}
    assert outputs.prediction.origin == (1, "match")


def _terms(detector: Detector, outputs: Outputs) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return dict(criterion()(outputs, TARGETS))


def _match_gradients(detector: Detector) -> dict[str, Tensor]:
    """What the terms of the matching queries alone teach, by parameter."""
    detector.zero_grad()
    terms = _terms(detector, detector(IMAGES, TARGETS))
    sum(term for name, term in terms.items() if "/match/" in name).backward()
    named = detector.named_parameters()
    return {name: each.grad.clone() for name, each in named if each.grad is not None}
