"""How steady the matching is: from epoch to epoch, and from layer to layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer

from detbox.annotations.split import Split
from detbox.structures import Batch, Matches, Outputs, PredictionSet, Targets

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

    from detbox.criterion import Criterion

Answers = dict[int, list[list[int]]]
"""layer -> the queries of each target of an image, in order"""


class MatchingStability(Callback):
    """Log in how many targets the matched query changed; no picture is shown to the model again.

    `match/changed_layer0`, ...: the share of targets that this layer's predictions match to
    another query than in the validation before (DN-DETR, sec. 3, counts such queries).
    `match/moved_layer1`, ...: the share that the layer below matches to another query, the
    stability that Stable-DINO is about.

    Args:
        image_ids: of the pictures that are looked at.
    """

    def __init__(self, image_ids: Sequence[int]) -> None:
        self.image_ids = frozenset(image_ids)
        self._before: dict[int, Answers] = {}
        self._now: dict[int, Answers] = {}
        self._outputs: Outputs | None = None
        self._hook: RemovableHandle | None = None

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen to the detector."""
        self._now = {}
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            detector = cast("torch.nn.Module", pl_module.detector)
            self._hook = detector.register_forward_hook(self._keep)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Match the predictions for the chosen pictures; Lightning has no gradients on here."""
        predicted, self._outputs = self._outputs, None
        rows = [row for row, each in enumerate(batch.image_ids) if each in self.image_ids]
        if predicted is None or not rows:
            return
        targets = _rows_of(batch.targets, rows)
        sets = [_at(each, rows) for each in predicted.all if _is_asked(each)]
        criterion = cast("Criterion", pl_module.criterion)
        with torch.autocast(targets.boxes.device.type, enabled=False):
            pairs = criterion.match(Outputs(sets[0], tuple(sets[1:])), targets)
        named = [(each.layer, matches) for each, matches in pairs]
        layers = {layer: answers(each, targets) for layer, each in named if layer is not None}
        for place, row in enumerate(rows):
            self._now[batch.image_ids[row]] = {k: v[place] for k, v in layers.items()}

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log, the same on all ranks."""
        if self._hook is None:
            return
        self._silence()
        now = _of_all_ranks(self._now)
        figures = {**changed(self._before, now), **moved(now)}
        self._before = now
        pl_module.log_dict(
            {f"match/{name}": share for name, share in figures.items()}, sync_dist=True
        )

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Leave the detector as it was."""
        self._silence()

    def state_dict(self) -> dict[str, Any]:
        """The matches of the last validation."""
        return {"before": self._before}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As a checkpoint left it."""
        self._before = state_dict["before"]

    def _keep(self, detector: torch.nn.Module, given: Any, outputs: Outputs) -> None:
        self._outputs = outputs

    def _silence(self) -> None:
        if self._hook is not None:
            self._hook.remove()
        self._hook = self._outputs = None


def spread(split: Split, count: int) -> list[int]:
    """Ids of so many images with objects to learn, evenly from the whole split."""
    full = np.unique(split.owners()[split.learnt])
    chosen = np.linspace(0, len(full) - 1, min(count, len(full))).round().astype(int)
    ids: list[int] = split.image_ids[full[chosen]].tolist()
    return ids


def answers(matches: Matches, targets: Targets) -> list[list[list[int]]]:
    """The queries of each target, image by image; none where targets outnumber queries."""
    queries: list[list[int]] = [[] for _ in targets.labels]
    for query, target in zip(matches.query.tolist(), matches.target.tolist(), strict=True):
        queries[target].append(query)
    spans = zip(targets.starts, targets.counts, strict=True)
    return [[sorted(each) for each in queries[at : at + count]] for at, count in spans]


def changed(before: Mapping[int, Answers], now: Mapping[int, Answers]) -> dict[str, float]:
    """Share of targets by layer; of images that both have, with as many targets."""
    pairs: dict[int, list[bool]] = {}
    for image in before.keys() & now.keys():
        for layer in before[image].keys() & now[image].keys():
            old, new = before[image][layer], now[image][layer]
            if len(old) == len(new):
                differ = [a != b for a, b in zip(old, new, strict=True)]
                pairs.setdefault(layer, []).extend(differ)
    return _shares("changed", pairs)


def moved(now: Mapping[int, Answers]) -> dict[str, float]:
    """Share of targets that a layer matches to another query than the one below, by layer."""
    pairs: dict[int, list[bool]] = {}
    for image in now.values():
        for layer in sorted(image.keys() & {each + 1 for each in image}):
            differ = [a != b for a, b in zip(image[layer - 1], image[layer], strict=True)]
            pairs.setdefault(layer, []).extend(differ)
    return _shares("moved", pairs)


def _shares(name: str, pairs: Mapping[int, list[bool]]) -> dict[str, float]:
    return {f"{name}_layer{k}": sum(v) / len(v) for k, v in sorted(pairs.items()) if v}


def _is_asked(predictions: PredictionSet) -> bool:
    own = predictions.group == "match" and predictions.layer is not None
    return own and predictions.matches is None


def _at(predictions: PredictionSet, rows: list[int]) -> PredictionSet:
    return predictions._replace(logits=predictions.logits[rows], boxes=predictions.boxes[rows])


def _rows_of(targets: Targets, rows: list[int]) -> Targets:
    labels, boxes = zip(*map(targets.of, rows), strict=True)
    return Targets(torch.cat(labels), torch.cat(boxes), tuple(targets.counts[row] for row in rows))


def _of_all_ranks(own: dict[int, Answers]) -> dict[int, Answers]:
    """In the order of the ids, so that the state is the same on any number of processes."""
    parts = [own]
    if dist.is_available() and dist.is_initialized():
        parts = [{} for _ in range(dist.get_world_size())]
        dist.all_gather_object(parts, own)
    every = {image: answer for part in parts for image, answer in part.items()}
    return dict(sorted(every.items()))
