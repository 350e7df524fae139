"""Random numbers of a step depend on seed and step, not on what was drawn before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from training_toys import ToyModule, loader, trainer

from detbox.engine.seeding import SeedEveryStep
from detbox.structures import Batch, StepOutputs

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers:UserWarning",
    "ignore:.*no `val_dataloader`:UserWarning",
    "ignore:.*LeafSpec:FutureWarning",
)


class Drawer(ToyModule):
    """Draws a number in every step."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[float] = []

    def training_step(self, batch: Batch, batch_index: int) -> StepOutputs:
        self.drawn.append(torch.rand(()).item())
        return super().training_step(batch, batch_index)


def draws(folder: Path, seed: int, **settings: Any) -> list[float]:
    """The numbers of two epochs of three batches."""
    module = Drawer()
    runner = trainer(folder, max_epochs=2, callbacks=[SeedEveryStep(seed)], **settings)
    runner.fit(module, loader(3))
    return module.drawn


def test_draws_repeat_whatever_the_generator_did_before(tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = draws(tmp_path, seed=0)
    torch.manual_seed(2)
    assert draws(tmp_path, seed=0) == first


def test_steps_epochs_and_seeds_draw_differently(tmp_path: Path) -> None:
    first, second = draws(tmp_path, seed=0), draws(tmp_path, seed=1)
    assert len(set(first + second)) == 12


def test_batches_of_one_optimizer_step_draw_differently(tmp_path: Path) -> None:
    assert len(set(draws(tmp_path, seed=0, accumulate_grad_batches=3))) == 6
