"""Pictures of an optimizer step, shared out over processes and accumulated batches."""

from __future__ import annotations

from typing import NamedTuple

from detbox.data.dataset import Loading
from detbox.errors import SettingError
from detbox.messages import counted


class StepBatch(NamedTuple):
    """What an optimizer step learns from."""

    processes: int
    """over all devices and nodes"""
    pictures: int
    """per process and batch"""
    accumulated: int
    """batches per step"""

    @property
    def total(self) -> int:
        """Pictures of a step."""
        return self.processes * self.pictures * self.accumulated

    def __str__(self) -> str:
        """As a line of the console."""
        processes, pictures = counted(self.processes, "process"), counted(self.pictures, "picture")
        factors = f"{processes} x {pictures} x {self.accumulated} accumulated"
        return f"{factors} = {counted(self.total, 'picture')} a step"

    def advice(self, lr: float, lr_batch: int) -> str:
        """Which learning rate belongs to this step, in proportion (Goyal et al., 2017).

        Args:
            lr: of the run.
            lr_batch: pictures of a step that it is for.

        Returns:
            A line of the console; empty if the step is of that size.
        """
        if self.total == lr_batch:
            return ""
        more, rest = divmod(lr_batch, self.processes * self.pictures)
        same = f" or trainer.accumulate_grad_batches={more}" if more and not rest else ""
        return (
            f"optimizer.lr={lr:g} is for {counted(lr_batch, 'picture')} a step, "
            f"this run takes {self.total}; give optimizer.lr={lr * self.total / lr_batch:.3g} "
            f"lr_batch={self.total}{same}"
        )


def share(loading: Loading, processes: int, accumulated: int) -> StepBatch:
    """How many pictures a process takes at once: what `total_batch` leaves it, else `batch_size`.

    Raises:
        SettingError: `total_batch` is no multiple of what is taken together.
    """
    if loading.total_batch is None:
        return StepBatch(processes, loading.batch_size, accumulated)
    together = processes * accumulated
    pictures, rest = divmod(loading.total_batch, together)
    if rest:
        fitting = [together * each for each in (pictures, pictures + 1) if each]
        raise SettingError(
            f"data.total_batch={loading.total_batch} cannot be shared by "
            f"{counted(processes, 'process')} x {accumulated} accumulated batches; try "
            f"data.total_batch={' or '.join(map(str, fitting))}, or other trainer.devices or "
            "trainer.accumulate_grad_batches"
        )
    return StepBatch(processes, pictures, accumulated)
