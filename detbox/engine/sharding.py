"""Weights, gradients and optimizer state in shares, one for each process (FSDP2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.optim import Optimizer

LEAST = 100_000
"""parameters of a block that are worth a gathering of their own"""
WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


class ShardedStrategy(ModelParallelStrategy):
    """All processes hold a share of everything, and files are those of any other run.

    Lightning numbers the optimizer's states by the module's order, other strategies by that of the
    optimizer's groups; here it is always the latter.
    """

    def __init__(self) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        """All processes of all nodes are one group."""
        self._data_parallel_size = self.num_processes * self.num_nodes
        super().setup_environment()

        def configure_model() -> None:
            shard(module.detector, self.device_mesh["data_parallel"])

        # Not a method of the module: its mere presence changes what Lightning does elsewhere.
        module: Any = self.lightning_module
        module.configure_model = configure_model

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The whole state on the first process, as torch itself numbers it; nothing on others."""
        assert self.model is not None
        plain: Optimizer = getattr(optimizer, "optimizer", optimizer)
        named: dict[str, Any] = {**get_optimizer_state_dict(self.model, plain, options=WHOLE)}
        names = [name for group in named.get("param_groups", ()) for name in group["params"]]
        return _renamed(named, {name: number for number, name in enumerate(names)})

    def load_checkpoint(
        self, checkpoint_path: str | Path, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a file that any strategy wrote, and give each process its share."""
        assert self.model is not None
        content: dict[str, Any] = torch.load(
            checkpoint_path, "cpu", mmap=True, weights_only=weights_only
        )
        set_model_state_dict(self.model, content["state_dict"], options=WHOLE)
        name_of = {id(each): name for name, each in self.model.named_parameters()}
        for optimizer, state in zip(self.optimizers, content["optimizer_states"], strict=False):
            held = [each for group in optimizer.param_groups for each in group["params"]]
            ours = [name_of[id(each)] for each in held]
            theirs = [number for group in state["param_groups"] for number in group["params"]]
            named = _renamed(state, dict(zip(theirs, ours, strict=True)))
            set_optimizer_state_dict(self.model, optimizer, named, options=WHOLE)
            for group, stored in zip(optimizer.param_groups, state["param_groups"], strict=True):
                # Torch makes lists of tuples.
                group.update({**stored, "params": group["params"]})
        return content


def shard(detector: nn.Module, mesh: DeviceMesh) -> None:
    """Share out a detector in place, block by block: a block is gathered while it computes.

    What is in no block is gathered for a whole forward and backward pass.
    """
    if isinstance(detector, FSDPModule):
        return
    for block in blocks(detector):
        fully_shard(block, mesh=mesh)
    fully_shard(detector, mesh=mesh)


def blocks(module: nn.Module) -> Iterator[nn.Module]:
    """Elements of lists that are worth it, the smallest: a backbone's blocks, not its stages."""
    for child in module.children():
        inner = list(blocks(child))
        if inner:
            yield from inner
        elif isinstance(module, (nn.ModuleList, nn.Sequential)) and _size(child) >= LEAST:
            yield child


def _renamed(state: Mapping[str, Any], names: Mapping[Any, Any]) -> dict[str, Any]:
    """An optimizer's state with other names for its parameters."""
    if not state:
        return {}
    groups = [
        {**group, "params": [names[each] for each in group["params"]]}
        for group in state["param_groups"]
    ]
    return {
        "state": {names[each]: own for each, own in state["state"].items()},
        "param_groups": groups,
    }


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
