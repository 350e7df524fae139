"""The one loss loop: names, weights, normalisation and precision of its terms."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from scenes import CLASSES, random_boxes, random_predictions, random_targets
from torch import Tensor

from detbox import losses, matchers  # noqa: F401  (importing registers)
from detbox.criterion import Criterion
from detbox.normalizing import step_shares
from detbox.registry import LOSSES, MATCHERS
from detbox.structures import ENCODER, Matches, Origin, Outputs, PredictionSet, StepObjects, Targets

WEIGHTS = {"class": 1.0, "l1": 5.0, "giou": 2.0}
BY_NAME = {name: LOSSES.bind({"name": name}) for name in ("focal", "l1", "giou")}
TARGETS = random_targets(3, 1)
GIVEN = Matches(torch.tensor([0, 1]), torch.tensor([2, 0]), torch.tensor([1, 3]))


def criterion(**weights: float) -> Criterion:
    """DINO's losses and matcher, the focal loss under the name `class`."""
    named = {"class": BY_NAME["focal"], "l1": BY_NAME["l1"], "giou": BY_NAME["giou"]}
    return Criterion(MATCHERS.build({"name": "hungarian"}), named, {**WEIGHTS, **weights})


def outputs() -> Outputs:
    """The sets of a step: two to be matched, one already matched, one of the encoder."""
    denoised = random_predictions(2, 4, Origin(0, "denoise"), seed=5)._replace(matches=GIVEN)
    return Outputs(
        random_predictions(2, 6, Origin(1, "match"), seed=3),
        (random_predictions(2, 6, Origin(0, "match"), seed=4), denoised, encoder()),
    )


def encoder() -> PredictionSet:
    """A set that tells objects from background only."""
    return random_predictions(2, 9, ENCODER, seed=6)._replace(class_agnostic=True)


def test_every_set_has_a_term_of_every_loss() -> None:
    terms = criterion()(outputs(), TARGETS)
    names = ("decoder1/match", "decoder0/match", "decoder0/denoise", "encoder")
    assert set(terms) == {f"{name}/{loss}" for name in names for loss in WEIGHTS}
    assert all(term.shape == () and term.isfinite() for term in terms.values())


def test_weights_multiply_their_own_loss_only() -> None:
    plain, heavy = criterion()(outputs(), TARGETS), criterion(l1=50.0)(outputs(), TARGETS)
    for name, term in plain.items():
        factor = 10 if name.endswith("/l1") else 1
        torch.testing.assert_close(heavy[name], factor * term)


def test_a_group_of_queries_may_have_a_weight_of_its_own() -> None:
    plain = criterion()
    own = Criterion(plain.matcher, plain.losses, WEIGHTS, {"denoise": {"class": 10.0}})
    terms, heavy = plain(outputs(), TARGETS), own(outputs(), TARGETS)
    for name, term in terms.items():
        factor = 10 if name == "decoder0/denoise/class" else 1
        torch.testing.assert_close(heavy[name], factor * term)


def test_a_group_weight_without_a_loss_is_refused() -> None:
    plain = criterion()
    with pytest.raises(ValueError, match=r"group_weights\.denoise weighs \['mask'\], expected"):
        Criterion(plain.matcher, plain.losses, WEIGHTS, {"denoise": {"mask": 1.0}})


def test_a_set_that_brings_its_matches_is_not_matched_again() -> None:
    asked: list[str] = []
    matcher = MATCHERS.build({"name": "hungarian"})

    def recorded(sets: Sequence[PredictionSet], targets: Targets) -> list[Matches]:
        asked.append(" ".join(each.name for each in sets))
        return matcher(sets, targets)

    matched = Criterion(recorded, BY_NAME, dict.fromkeys(BY_NAME, 1.0)).match(outputs(), TARGETS)
    assert asked == ["decoder1/match decoder0/match encoder"]
    assert dict((each.name, found) for each, found in matched)["decoder0/denoise"] is GIVEN


def test_terms_of_repeated_targets_are_divided_by_the_repeats() -> None:
    whole = outputs()
    denoised = whole.auxiliary[1]
    often = (whole.auxiliary[0], denoised._replace(repeats=4), whole.auxiliary[2])
    plain, quarter = (
        criterion()(whole, TARGETS),
        criterion()(whole._replace(auxiliary=often), TARGETS),
    )
    for name, term in plain.items():
        factor = 0.25 if name.startswith("decoder0/denoise") else 1
        torch.testing.assert_close(quarter[name], factor * term)


def test_a_set_of_many_finds_every_target_so_often() -> None:
    many = random_predictions(2, 20, Origin(1, "many"), seed=9)._replace(repeats=3)
    whole = outputs()
    pairs = criterion().match(whole._replace(auxiliary=(*whole.auxiliary, many)), TARGETS)
    for predictions, found in pairs:
        if predictions.matches is None:
            times = torch.bincount(found.target, minlength=len(TARGETS.labels))
            assert times.tolist() == [predictions.repeats] * len(TARGETS.labels)
            owner = torch.tensor([0, 0, 0, 1])[found.target]
            assert torch.equal(owner, found.image)
            assert len({*zip(found.image.tolist(), found.query.tolist(), strict=True)}) == len(
                owner
            )
    alone = criterion().match(whole, TARGETS)
    for (_, then), (_, now) in zip(alone, pairs, strict=False):
        assert all(map(torch.equal, then, now))


def test_each_term_says_what_it_is_about() -> None:
    terms = criterion()(outputs(), TARGETS)
    assert [term.name for term in terms.entries] == list(terms)
    assert {term.name for term in terms.entries if term.final} == {
        f"decoder1/match/{loss}" for loss in WEIGHTS
    }
    assert {term.origin.layer for term in terms.entries} == {0, 1, None}
    torch.testing.assert_close(terms.total, sum(terms.values()))


def test_a_set_without_anything_to_learn_adds_nothing() -> None:
    nothing = Matches(*torch.zeros(3, 0, dtype=torch.int64))
    logits = torch.randn(2, 4, CLASSES + 1, requires_grad=True)
    empty = PredictionSet(
        Origin(0, "denoise"), logits, random_boxes(2, 4), nothing, matched_only=True
    )
    one = {"class": LOSSES.bind({"name": "cross_entropy"})}
    (term,) = Criterion(lambda *_: [], one, {"class": 1.0})(Outputs(empty, ()), TARGETS).values()
    term.backward()
    assert term == 0
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_terms_are_divided_by_the_normalizer() -> None:
    default = criterion()(outputs(), TARGETS)
    given = criterion()(outputs(), TARGETS, StepObjects((8,)))
    for name, term in default.items():
        torch.testing.assert_close(given[name], term * 4 / 8)


def test_the_normalizer_counts_objects_and_is_at_least_one() -> None:
    for counts, objects in (((3, 1), 4), ((0, 0), 1), ((0, 1), 1)):
        assert step_shares(StepObjects(counts), (), torch.device("cpu")).objects == objects


def test_class_agnostic_sets_see_every_object_as_class_0() -> None:
    zeros = TARGETS._replace(labels=torch.zeros_like(TARGETS.labels))
    found = criterion()(Outputs(encoder(), ()), TARGETS)
    expected = criterion()(Outputs(encoder()._replace(class_agnostic=False), ()), zeros)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("weights", [{"class": 1.0}, {**WEIGHTS, "mask": 1.0}, {}])
def test_a_missing_or_left_over_weight_is_refused(weights: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"one weight per loss.*set criterion\.weights"):
        Criterion(MATCHERS.build({"name": "hungarian"}), BY_NAME, weights)


def test_halves_of_a_batch_with_the_joint_normalizer_add_up_to_the_whole() -> None:
    targets = random_targets(3, 0, 1, 4)
    features = torch.randn(4, 6, 8, generator=torch.Generator().manual_seed(0))
    head = torch.randn(8, CLASSES + 4, generator=torch.Generator().manual_seed(1))

    def gradient(*parts: slice) -> Tensor:
        weight = head.clone().requires_grad_()
        for part in parts:
            logits, boxes = (features[part] @ weight).split((CLASSES, 4), -1)
            step = Outputs(PredictionSet(Origin(0, "match"), logits, boxes.sigmoid()), ())
            own = images_of(targets, part)
            terms = criterion()(step, own, StepObjects(targets.counts))
            torch.stack(list(terms.values())).sum().backward()
        assert weight.grad is not None
        return weight.grad

    whole, halves = gradient(slice(0, 4)), gradient(slice(0, 2), slice(2, 4))
    torch.testing.assert_close(halves, whole)


def images_of(targets: Targets, part: slice) -> Targets:
    """The targets of some images."""
    chosen = range(len(targets.counts))[part]
    labels, boxes = zip(*(targets.of(image) for image in chosen), strict=True)
    return Targets(torch.cat(labels), torch.cat(boxes), targets.counts[part])


def test_under_autocast_terms_are_computed_in_float32() -> None:
    logits = random_predictions(2, 6).logits.bfloat16()
    boxes = random_boxes(2, 6, seed=7).bfloat16()
    half = Outputs(PredictionSet(Origin(0, "match"), logits, boxes), ())
    exact = Outputs(PredictionSet(Origin(0, "match"), logits.float(), boxes.float()), ())
    with torch.autocast("cpu", torch.bfloat16):
        terms = criterion()(half, TARGETS)
    assert {term.dtype for term in terms.values()} == {torch.float32}
    torch.testing.assert_close(terms, criterion()(exact, TARGETS))


def test_losses_run_outside_autocast() -> None:
    def product(predictions: PredictionSet, targets: Targets, matches: Matches) -> Tensor:
        return (predictions.logits @ predictions.logits.mT).sum()

    matcher = MATCHERS.build({"name": "hungarian"})
    alone = Criterion(matcher, {"product": product}, {"product": 1.0})
    with torch.autocast("cpu", torch.bfloat16):
        terms = alone(outputs(), TARGETS)
    torch.testing.assert_close(terms, alone(outputs(), TARGETS), rtol=0, atol=0)


def test_float64_predictions_give_float64_terms() -> None:
    each = random_predictions(2, 6)
    double = each._replace(logits=each.logits.double(), boxes=each.boxes.double())
    terms = criterion()(Outputs(double, ()), TARGETS)
    assert {term.dtype for term in terms.values()} == {torch.float64}
