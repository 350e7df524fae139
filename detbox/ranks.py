"""Processes of one run before any framework knows them: which is this, and what the first says."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from detbox.errors import MachineError, SettingError

if TYPE_CHECKING:
    from torch.distributed import Store

RANKS = ("RANK", "SLURM_PROCID", "LOCAL_RANK")
SIZES = ("WORLD_SIZE", "SLURM_NTASKS")
PATIENCE = timedelta(minutes=5)
"""in which the first process has started"""

_STORES: list[Store] = []
"""what this process serves, for as long as it lives: the others may come late"""


class Layout(NamedTuple):
    """Processes that torchrun started."""

    nodes: int
    per_node: int


def rank() -> int:
    """Of this process in its run, before any framework knows."""
    return int(next((os.environ[each] for each in RANKS if os.environ.get(each)), 0))


def together() -> bool:
    """Whether several processes of this run were started, by whomsoever."""
    return any(os.environ.get(each, "1") != "1" for each in SIZES)


def layout() -> Layout | None:
    """How torchrun laid out this run; None: it did not start this process."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    per_node = int(os.environ["LOCAL_WORLD_SIZE"])
    return Layout(int(os.environ["WORLD_SIZE"]) // per_node, per_node)


def said_by_first(subject: str, say: Callable[[], str]) -> str | None:
    """What the first process says, in all that torchrun or `srun` started together.

    Args:
        subject: the same in all of them, and another for each question.
        say: called in the first process alone.

    Returns:
        None in a process whose first cannot be asked: Lightning started it, and told it all.

    Raises:
        MachineError: the first does not answer.
        SettingError: Lightning cannot work in this Slurm job, and says why.
    """
    said = None if rank() else say()
    if (store := _store()) is None:
        return said
    if said is not None:
        store.set(subject, said)
        return said
    try:
        return bytes(store.get(subject)).decode()
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise MachineError(
            f"process {rank()} waited for the first of its run, which did not say its {subject} "
            f"({reason}); look at the output of process 0"
        ) from error


def _store() -> Store | None:
    """The one over which the process group will meet, too; None: nobody started several."""
    if not together():
        return None
    from lightning.fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
    from torch import distributed

    kinds = (TorchElasticEnvironment, SLURMEnvironment)
    try:
        place = next((kind() for kind in kinds if kind.detect()), None)
    except RuntimeError as error:  # a layout of Slurm's that Lightning does not know
        raise SettingError(str(error)) from error
    if place is None:
        return None
    url = f"tcp://{place.main_address}:{place.main_port}"
    meeting = distributed.rendezvous(url, rank(), place.world_size(), timeout=PATIENCE)
    store: Store = next(meeting)[0]
    _STORES.append(store)
    return distributed.PrefixStore("detbox", store)
