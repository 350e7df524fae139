"""Compute the first bad step of a run again, from the bundle that its black box left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from omegaconf import DictConfig

from detbox import ops
from detbox.commands.table import register_command
from detbox.console.lines import say

if TYPE_CHECKING:
    from rich.table import Table

    from detbox.guards.bundle import Bundle
    from detbox.guards.tracing import Trace

EXACT = "32-true"


@dataclass(frozen=True)
class Replay:
    """What one precision made of the step."""

    precision: str
    traces: list[Trace]

    @property
    def last(self) -> Trace:
        """Of the batch where it stopped."""
        return self.traces[-1]

    def __str__(self) -> str:
        """The outcome in a line."""
        loss = f"loss {self.last.loss:.6g}"
        if self.last.first is not None:
            return f"{self.precision}: {loss}; first in {self.last.first}"
        return f"{self.precision}: {loss}; all outputs and gradients are finite"


@register_command("replay", paths=("bundle",), in_place=True, bare="bundle")
def replay(
    cfg: DictConfig,
    folder: Path,
    *,
    bundle: str,
    precision: Literal["both", "run", "32"] = "both",
    device: str = "auto",
) -> list[Replay]:
    """Compute the first bad step of a run again, and show where it stopped being finite.

    A run whose loss or gradient is not finite leaves `black_box.pt` in its folder: batch, random
    numbers, weights and settings of that step. It is computed again as the run did, and in float32.

    Args:
        cfg: `op`.
        folder: nothing is written there.
        bundle: that file, or the run folder.
        precision: `run`: as the run had it; `32`: in float32; or both.
        device: auto, cpu, cuda or mps.

    Raises:
        MissingFileError, CheckpointError: there is no such bundle.
    """
    from rich import get_console

    from detbox.guards.bundle import Bundle

    ops.configure(cfg.op)
    read = Bundle.read(bundle)
    say(f"step {read.step} of epoch {read.epoch}, process {read.rank}: {read.what} not finite")
    found = [_replayed(read, each, device) for each in _precisions(read.precision, precision)]
    for each in found:
        say(str(each))
        get_console().print(_table(each))
    return found


def _precisions(own: str, asked: str) -> list[str]:
    chosen = {"run": [own], "32": [EXACT], "both": [own, EXACT]}[asked]
    return list(dict.fromkeys(chosen))


def _replayed(bundle: Bundle, precision: str, device: str) -> Replay:
    from detbox.build import build_module
    from detbox.guards.tracing import traced
    from detbox.predictor import device_of

    checkpoint, where = bundle.checkpoint, device_of(device)
    module = build_module(checkpoint.recipe, checkpoint.label_space, learns=False)
    checkpoint.fill(module.detector)
    module.to(where).train()
    scale = 1.0 if precision == EXACT else bundle.scale
    batches = [each.to(where) for each in bundle.batches]
    return Replay(precision, traced(batches, module, precision, scale))


def _table(replay: Replay) -> Table:
    """The last finite tensors and the first that is not, in the order of time."""
    from rich.table import Column, Table

    table = Table(Column("tensor", overflow="fold"), "shape", "not finite", "range of the rest")
    trace = replay.last
    rows = [*trace.before, *filter(None, [trace.first or trace.largest])]
    for each in rows:
        bad = f"{each.bad} of {each.size}" if each.bad else "0"
        table.add_row(f"{each.module}: {each.tensor}", str(each.shape), bad, each.range)
    return table
