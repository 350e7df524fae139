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
from detbox.structures import Memory, Outputs, PredictionSet, Queries, QueryGroup, Targets

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
        return (self.added(queries) if self.training else queries), found

    def added(self, queries: Queries) -> Queries:
        """The branch before the queries there are."""
        batch = len(queries.content)
        content, anchors = (x.expand(batch, -1, -1) for x in (self.content, self.anchors))
        return with_group(queries, content, anchors, QueryGroup("many", MANY, repeats=REPEATS))


class AfterDenoising(nn.Module):
    """Denoising first, the branch of a `HybridQueries` second."""

    def __init__(self, denoiser: nn.Module, branch: HybridQueries) -> None:
        super().__init__()
        self.denoiser, self.branch = denoiser, branch

    def forward(self, queries: Queries, targets: Targets) -> Queries:
        return self.branch.added(self.denoiser(queries, targets))


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


def test_the_branch_and_denoising_compose_in_either_order() -> None:
    detector = hybrid(num_denoising=4)
    torch.manual_seed(1)
    branch_first = _terms(detector, detector(IMAGES, TARGETS))
    branch, denoiser = detector.query_source, detector.denoiser
    assert isinstance(branch, HybridQueries)
    assert isinstance(denoiser, nn.Module)
    detector.query_source, detector.denoiser = branch.source, AfterDenoising(denoiser, branch)
    torch.manual_seed(1)
    branch_last = _terms(detector, detector(IMAGES, TARGETS))
    assert [each.name for each in queries_of(detector).groups] == ["many", "denoise", "match"]
    assert branch_last.keys() == branch_first.keys()
    for name, term in branch_first.items():
        torch.testing.assert_close(branch_last[name], term, msg=name)


def five(position: Tensor | None = None, blocked: Tensor | None = None) -> Queries:
    """Five matching queries for one image."""
    content, anchors = torch.zeros(1, 5, 8), torch.zeros(1, 5, 4)
    return Queries(content, anchors, position, blocked, (QueryGroup("match", 5),))


ADDED = (torch.zeros(1, 3, 8), torch.zeros(1, 3, 4), QueryGroup("many", 3))


def test_positions_follow_their_queries() -> None:
    ours, theirs = torch.randn(1, 3, 8), torch.randn(1, 5, 8)
    position = with_group(five(theirs), *ADDED, position=ours).position
    assert position is not None
    assert torch.equal(position, torch.cat((ours, theirs), 1))


@pytest.mark.parametrize(
    ("theirs", "ours", "told"),
    [
        (torch.zeros(1, 5, 8), None, "of the others without those of many"),
        (None, torch.zeros(1, 3, 8), "of many without those of the others"),
    ],
)
def test_positions_of_one_side_alone_are_refused(
    theirs: Tensor | None, ours: Tensor | None, told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        with_group(five(theirs), *ADDED, position=ours)


def test_masks_of_groups_that_are_there_are_kept() -> None:
    own, inner = torch.rand(5, 5) > 0.5, torch.rand(3, 3) > 0.5
    joined = with_group(five(blocked=own), *ADDED, blocked=inner, sees=("match",))
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
