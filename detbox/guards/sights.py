"""A step's numbers, gathered on the device and read by the host when they have come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from detbox.boxes import pairwise_overlap, to_xyxy
from detbox.guards.flags import Later
from detbox.guards.records import StepRecord
from detbox.structures import Outputs, Targets

FOUND = 0.5
"""IoU from which on a box is taken for that of an object"""


class Sight(NamedTuple):
    """Scores and classes of a batch, still on the device."""

    top: Tensor
    """() the highest class score"""
    labels: Tensor
    """(T,)"""
    guesses: Tensor
    """(T,) best class of the query whose box overlaps the object most"""
    overlaps: Tensor
    """(T,) IoU of that box"""

    @classmethod
    @torch.no_grad()
    def of(cls, outputs: Outputs, targets: Targets, classes: int) -> Sight:
        """Look at the predictions that inference reads; nothing waits for the device.

        Args:
            outputs: logits of one class more than there are mean softmax and "no object".
            targets: of the batch.
            classes: K.
        """
        logits, boxes = outputs.prediction.logits.float(), outputs.prediction.boxes.float()
        softmax = logits.shape[-1] > classes
        scores = logits.softmax(-1)[..., :-1] if softmax else logits.sigmoid()
        found = list(_found(scores.argmax(-1), boxes, targets))
        guesses, overlaps = (torch.cat(each) for each in zip(*found, strict=True))
        return cls(scores.max(), targets.labels, guesses, overlaps)


class Sent(NamedTuple):
    """A record whose numbers are on their way to the host."""

    record: StepRecord
    """with what is known without them"""
    terms: tuple[str, ...]
    seen: bool
    """whether a sight follows the terms"""
    numbers: Later

    @classmethod
    def of(cls, record: StepRecord, terms: Mapping[str, Tensor], sight: Sight | None) -> Sent:
        """Send off the terms of a step, and what was seen of it."""
        values = [*terms.values(), *(sight or ())]
        numbers = torch.cat([each.detach().float().reshape(-1) for each in values])
        return cls(record, tuple(terms), sight is not None, Later(numbers))

    def received(self) -> StepRecord:
        """The whole record; waits only for what is still on its way."""
        numbers = self.numbers.read()
        count = len(self.terms)
        terms = dict(zip(self.terms, numbers[:count], strict=True))
        record = self.record._replace(terms=terms)
        if not self.seen:
            return record
        top, *rest = numbers[count:]
        objects = len(rest) // 3
        columns = (rest[start : start + objects] for start in range(0, len(rest), objects or 1))
        pairs = ((int(a), int(b)) for a, b, iou in zip(*columns, strict=True) if iou >= FOUND)
        return record._replace(top=top, pairs=tuple(pairs))


def _found(guesses: Tensor, boxes: Tensor, targets: Targets) -> Iterator[tuple[Tensor, Tensor]]:
    """Class (n,) and IoU (n,) of the box that overlaps each object of an image most."""
    for image, own in enumerate(boxes):
        _, objects = targets.of(image)
        overlaps, _ = pairwise_overlap(to_xyxy(own), to_xyxy(objects))  # (Q, n)
        best, query = overlaps.max(0)
        yield guesses[image, query], best
