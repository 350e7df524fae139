"""`overfit=8`: does this model, on these data, learn a few pictures by heart?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning_utilities.core.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from detbox.console.lines import say
from detbox.data.few import few_pictures
from detbox.errors import NotLearntError, SettingError
from detbox.messages import counted

if TYPE_CHECKING:
    import lightning.pytorch as pl

    from detbox.callbacks import RunContext
    from detbox.data.module import DataModule
    from detbox.guards.overfit import OverfitGate

STEPS = 1000
"""at most, where `trainer.max_steps` says nothing"""
BETWEEN = 50
"""steps, about, from one validation to the next"""
OFF = ("checkpoints", "ema", "early_stopping")
"""callbacks of a training whose weights are kept"""


def gate_settings(cfg: DictConfig) -> DictConfig:
    """The settings of a run that only asks whether it can learn; others stay as they are.

    The rate is constant from the first step on, the run has an end of its own, and keeps no
    weights.

    Raises:
        SettingError: not a number of pictures, or a run to resume, or nothing evaluates.
    """
    count = cfg.overfit
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise SettingError(f"expected overfit=8 or another number of pictures, got {count!r}")
    if cfg.ckpt is not None:
        raise SettingError(
            f"overfit={count} starts a run of its own, got ckpt={cfg.ckpt} to resume; give init= "
            "to start from its weights"
        )
    if cfg.callbacks.get("evaluation") is None:
        raise SettingError(f"overfit={count} is judged by AP50, and callbacks.evaluation is off")
    steps = cfg.trainer.max_steps if cfg.trainer.max_steps > 0 else STEPS
    changes: dict[str, Any] = {
        "lr_batch": None,
        "schedule": {"name": "step", "drops": []},
        **{f"callbacks.{key}": None for key, each in cfg.callbacks.items() if _is_off(each)},
        "trainer.max_steps": steps,
        "trainer.max_epochs": -1,
        "trainer.check_val_every_n_epoch": 1,
        "trainer.limit_train_batches": None,
        "trainer.limit_val_batches": None,
    }
    cfg = cfg.copy()
    for key, value in changes.items():
        OmegaConf.update(cfg, key, value, merge=False, force_add=True)
    rank_zero_only(say)(
        f"overfit={count}: the first {counted(count, 'training picture')} with objects, to train "
        f"on and to validate, without augmentation, at a constant rate, for up to {steps} steps"
    )
    return cfg


def few_of(data: DataModule, cfg: DictConfig) -> DataModule:
    """The pictures of the gate, so often that an epoch is what lies between validations."""
    from detbox.data.module import DataModule

    steps: int = cfg.trainer.max_steps
    between = steps // max(1, round(steps / BETWEEN))
    batches = between * cfg.trainer.accumulate_grad_batches
    return DataModule(few_pictures(data.dataset, cfg.overfit, batches), data.seed)


def gate_of(context: RunContext) -> OverfitGate:
    """What watches the run of a gate."""
    from detbox.guards.overfit import OverfitGate

    return OverfitGate(context.figures)


def conclude(gate: OverfitGate, cfg: DictConfig, trainer: pl.Trainer) -> None:
    """Say that it passed.

    Raises:
        NotLearntError: it did not, with what is likely wrong.
    """
    from detbox.evaluation.duplicates import advice
    from detbox.guards.overfit import NEEDED, causes

    course, name = gate.course(trainer), f"overfit={cfg.overfit}"
    if course is None:
        raise NotLearntError(f"{name} failed: no validation; give a larger trainer.max_steps")
    if gate.passed_at is not None:
        at = f"at step {gate.passed_at} of at most {cfg.trainer.max_steps}"
        rank_zero_only(say)(f"{name} passed: AP50 {course.metrics.AP50:.3f} {at}")
        return
    found = [*causes(course), advice(course.metrics, cfg.criterion.weights)]
    ends = (
        f"{key} {course.terms[0][key]:.3g} to {value:.3g}"
        for key, value in course.terms[-1].items()
    )
    raise NotLearntError(
        f"{name} failed: expected an AP50 of {NEEDED} on pictures that were trained on, got "
        f"{course.metrics.AP50:.3f} after {counted(course.steps, 'step')}; terms: "
        f"{', '.join(ends)}; {'; '.join(filter(None, found)) or 'look at pictures.jpg'}"
    )


def _is_off(callback: DictConfig | None) -> bool:
    return callback is not None and callback.name in OFF
