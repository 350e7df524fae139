"""Save one view of a W&B project, with the panels that tell how a training goes."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from detbox.commands.table import register_command
from detbox.console.lines import say


@register_command("wandb_workspace", in_place=True)
def wandb_workspace(
    cfg: DictConfig,
    folder: Path,
    *,
    project: str = "detbox",
    entity: str | None = None,
    view: str = "detbox",
) -> str:
    """Save a view of a W&B project: AP, losses, matching, gradients, speed and load, in order.

    Args:
        cfg: nothing of it is needed.
        folder: nothing is written there.
        project: whose runs it shows, `logger.project` of theirs.
        entity: user or team; None: whose API key it is.
        view: name of it; one that is there already stays, and there are two.

    Raises:
        MachineError: wandb-workspaces, an API key, or an answer of the server is missing.
    """
    from detbox.tracking.wandb_view import saved

    address = saved(project, view, entity)
    say(f"saved {address}")
    return address
