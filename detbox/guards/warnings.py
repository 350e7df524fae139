"""Say what looks wrong in a training, in the step in which it shows, and once."""

from __future__ import annotations

import logging
import math
from collections import deque
from typing import Any

import lightning.pytorch as pl
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from detbox.annotations import Split
from detbox.criterion import LossTerms
from detbox.guards.records import LOSS, StepRecord, Window
from detbox.guards.rules import RULES, class_without_boxes
from detbox.guards.sights import Sent, Sight
from detbox.structures import Batch

logger = logging.getLogger("detbox")

LENGTH = 1000
"""batches that rules can look back"""
SIGHT_EVERY, AT_FIRST = 10, 50
"""batches from one look at scores and classes to the next, and how many are all looked at"""


class Warnings(pl.Callback):
    """Ask the rules after every batch of the first process, and say once what each finds.

    The terms of a batch, and every few batches what is seen of it, go to the host without keeping
    it waiting: on a GPU they are read in the next step, when the matcher has waited for the device.

    Args:
        after: steps at the full learning rate after which something should have been learnt.
    """

    def __init__(self, after: int) -> None:
        self.after = after
        self.said: set[str] = set()
        self._records: deque[StepRecord] = deque(maxlen=LENGTH)
        self._now = StepRecord()
        self._names: tuple[str, ...] = ()
        self._batches = 0
        self._listens = False
        self._sent: deque[Sent] = deque()
        self._handle: RemovableHandle | None = None

    def state_dict(self) -> dict[str, Any]:
        """What was said: a run that goes on does not repeat it."""
        return {"said": sorted(self.said)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As a checkpoint left it."""
        self.said = set(state_dict["said"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the classes of the data, and listen to the criterion."""
        if not trainer.is_global_zero:
            return
        self._names = pl_module.label_space.names  # type: ignore[union-attr, assignment]
        split = getattr(getattr(trainer, "datamodule", None), "train", None)
        if isinstance(split, Split):
            self._say("class_without_boxes", class_without_boxes(split))
        criterion = pl_module.get_submodule("criterion")
        self._handle = criterion.register_forward_hook(self._look)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Note the step and the learning rate that it is taken with."""
        groups = [group for each in trainer.optimizers for group in each.param_groups]
        rate = max((float(group["lr"]) for group in groups), default=0.0)
        full = max((float(group.get("initial_lr", group["lr"])) for group in groups), default=0.0)
        share = rate / full / trainer.accumulate_grad_batches if full else 0.0
        objects, step = sum(batch.targets.counts), trainer.global_step + 1
        self._now = StepRecord(step, {}, objects, rate, self._now.learnt + share)
        self._batches += 1
        self._listens = True

    def on_before_backward(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor
    ) -> None:
        """Read what has come: on a CPU of this batch, on a GPU of the one before."""
        self._listens = False
        self._settle(keep=loss.is_cuda)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Read the last batch, and stop listening."""
        self._end()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Read the last batch, which may say why."""
        self._end()

    def _look(self, criterion: nn.Module, given: tuple[Any, ...], terms: LossTerms) -> None:
        if not self._listens:  # a validation, or a step that is computed once more
            return
        final = {term.loss: term.value for term in terms.entries if term.final}
        due = self._batches <= AT_FIRST or self._batches % SIGHT_EVERY == 0
        sight = Sight.of(given[0], given[1], len(self._names)) if due else None
        self._sent.append(Sent.of(self._now, {LOSS: terms.total, **final}, sight))

    def _settle(self, *, keep: bool = False) -> None:
        """Ask the rules about all batches, but for the newest where its numbers are on the way."""
        while len(self._sent) > keep:
            record = self._sent.popleft().received()
            if all(map(math.isfinite, record.terms.values())):
                self._records.append(record)
                self._ask(Window(self._records, self._names, self.after))

    def _ask(self, window: Window) -> None:
        for name, rule in RULES.items():
            if name not in self.said and self._batches % rule.every == 0:
                self._say(name, rule.check(window))

    def _say(self, name: str, told: str | None) -> None:
        if told is not None and name not in self.said:
            self.said.add(name)
            logger.warning("%s", told)

    def _end(self) -> None:
        self._settle()
        if self._handle is not None:
            self._handle.remove()
            self._handle = None
