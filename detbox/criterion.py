"""The one loss loop: match what is unmatched, then add up every loss of every prediction set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from detbox.errors import SettingError
from detbox.matchers.cost import Matcher
from detbox.normalizing import step_shares
from detbox.numerics import at_least_float32
from detbox.structures import (
    Matches,
    Normalized,
    Outputs,
    PredictionSet,
    StepObjects,
    Targets,
    Term,
)

Loss = Callable[[PredictionSet, Targets, Matches], Tensor | Normalized]
PairWeight = Callable[[PredictionSet, Targets, Matches], Tensor]


class LossTerms(dict[str, Tensor]):
    """Terms by name; `entries` says what each is about."""

    def __init__(self, entries: Iterable[Term]) -> None:
        self.entries = tuple(entries)
        super().__init__({entry.name: entry.value for entry in self.entries})

    @property
    def total(self) -> Tensor:
        """() the loss to minimise."""
        return torch.stack(list(self.values())).sum()


class Criterion(nn.Module):
    """Weighted, normalised loss terms of all prediction sets.

    Args:
        matcher: pairs sets with targets, asked once a step.
        losses: by name; each returns a sum over the batch, or a sum with a divisor of its own.
        weights: by name of the loss.
        group_weights: by group of queries, then by name of the loss, where they differ there.
        pair_weight: how much each pair counts that the matcher found; None: all fully.
    """

    def __init__(
        self,
        matcher: Matcher,
        losses: Mapping[str, Loss],
        weights: Mapping[str, float],
        group_weights: Mapping[str, Mapping[str, float]] | None = None,
        pair_weight: PairWeight | None = None,
    ) -> None:
        super().__init__()
        if set(losses) != set(weights):
            raise SettingError(
                f"criterion needs one weight per loss, got losses {sorted(losses)} and weights "
                f"{sorted(weights)}; set criterion.weights"
            )
        self.matcher, self.losses, self.weights = matcher, dict(losses), dict(weights)
        self.pair_weight = pair_weight
        self.group_weights = {group: dict(own) for group, own in (group_weights or {}).items()}
        for group, own in self.group_weights.items():
            if unknown := sorted(set(own) - set(losses)):
                raise SettingError(
                    f"criterion.group_weights.{group} weighs {unknown}, "
                    f"expected some of the losses {sorted(losses)}"
                )

    def forward(
        self,
        outputs: Outputs,
        targets: Targets,
        step: StepObjects | None = None,
        *,
        alone: bool = False,
    ) -> LossTerms:
        """Compute all terms; their sum is the loss to minimise.

        Args:
            outputs: all prediction sets of one forward pass.
            targets: the batch's objects.
            step: objects of the optimizer step, which divide the sums together with those of other
                processes; default: the batch is the step.
            alone: True: other processes are not asked, as in a validation.

        Returns:
            `{set}/{loss}` -> scalar, weighted and normalised.
        """
        step = step or StepObjects(targets.counts)
        shares = step_shares(step, outputs.all, targets.boxes.device, alone=alone)
        final = outputs.prediction.origin
        with torch.autocast(targets.boxes.device.type, enabled=False):
            return LossTerms(
                Term(
                    each.origin,
                    name,
                    self.weight_of(each, name) / each.repeats * shares.divided(found, each),
                    each.origin == final,
                    found.divisor.detach() if isinstance(found, Normalized) else None,
                )
                for each, matches in map(_counted, self.match(outputs, targets))
                for name, loss in self.losses.items()
                for found in [loss(each, self._seen_by(each, targets), matches)]
            )

    def weight_of(self, predictions: PredictionSet, loss: str) -> float:
        """Weight of a loss, as the set's group of queries has it."""
        return self.group_weights.get(predictions.group, {}).get(loss, self.weights[loss])

    def match(self, outputs: Outputs, targets: Targets) -> list[tuple[PredictionSet, Matches]]:
        """Every set, in float32 at least, with its matches.

        The matcher is asked once for all sets that find every target equally often.
        """
        sets = [_precise(each) for each in outputs.all]
        found = {index: each.matches for index, each in enumerate(sets) if each.matches is not None}
        for times in sorted({each.repeats for each in sets if each.matches is None}):
            asked = [i for i, each in enumerate(sets) if i not in found and each.repeats == times]
            answers = self._ask([sets[index] for index in asked], targets, times)
            found |= dict(zip(asked, answers, strict=True))
        return [(self._weighed(each, targets, found[i]), found[i]) for i, each in enumerate(sets)]

    def _ask(self, sets: list[PredictionSet], targets: Targets, times: int) -> list[Matches]:
        if times == 1:
            return self.matcher(sets, targets)
        repeated, index = targets.repeated(times)
        answers = self.matcher(sets, repeated)
        return [matches._replace(target=index[matches.target]) for matches in answers]

    def _weighed(
        self, predictions: PredictionSet, targets: Targets, matches: Matches
    ) -> PredictionSet:
        if self.pair_weight is None or predictions.matches is not None:
            return predictions
        weights = self.pair_weight(predictions, self._seen_by(predictions, targets), matches)
        return predictions._replace(pair_weights=weights)

    def _seen_by(self, predictions: PredictionSet, targets: Targets) -> Targets:
        if not predictions.class_agnostic:
            return targets
        return targets._replace(labels=torch.zeros_like(targets.labels))


def _precise(predictions: PredictionSet) -> PredictionSet:
    return predictions._replace(
        logits=at_least_float32(predictions.logits), boxes=at_least_float32(predictions.boxes)
    )


def _counted(pair: tuple[PredictionSet, Matches]) -> tuple[PredictionSet, Matches]:
    """Only the queries that losses may see; the matched ones of all images become one row."""
    predictions, matches = pair
    if not predictions.matched_only:
        return pair
    place = (matches.image, matches.query)
    counted = predictions._replace(
        logits=predictions.logits[place][None], boxes=predictions.boxes[place][None]
    )
    query = torch.arange(len(matches.query), device=matches.query.device)
    return counted, Matches(torch.zeros_like(query), query, matches.target)
