"""One W&B view of a project's runs: how they go, what each loss does, and where time goes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from detbox.errors import MachineError
from detbox.tracking.wandb_history import STEP

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace

COLUMNS, WIDTH, HEIGHT = 3, 8, 6
"""panels of a row, and the size of each in W&B's units"""


class Plot(NamedTuple):
    """Curves over optimizer steps."""

    title: str
    metrics: tuple[str, ...] = ()
    pattern: str | None = None
    """a regular expression instead of names"""
    settings: Mapping[str, Any] = MappingProxyType({})
    """of W&B's panel"""


class Table(NamedTuple):
    """A table that runs log."""

    name: str


STACKED = {"plot_type": "stacked-area"}
SECTIONS: dict[str, tuple[Plot | Table, ...]] = {
    "how it goes": (
        Plot("AP, of the average and as trained", ("val/AP", "val_raw/AP")),
        Plot("AP50, with and without duplicates", ("val/AP50", "val/AP50_nms", "val_raw/AP50")),
        Plot("AP by size of the objects", ("val/AP_small", "val/AP_medium", "val/AP_large")),
        Plot("loss", ("train/loss", "val/loss")),
        Plot("learning rate", pattern="lr/.*", settings={"log_y": True}),
        Plot("gradient norm before clipping", ("train/grad_norm",), settings={"log_y": True}),
        Table("val/classes"),
    ),
    "losses": (
        Plot("final predictions", pattern="loss_final/.*"),
        Plot("class loss by layer", pattern="loss_aux/.*/class"),
        Plot("box losses by layer", pattern="loss_aux/.*/(l1|giou)"),
        Plot("encoder", pattern="loss_encoder/.*"),
        Plot("denoising", pattern="loss_denoising/.*"),
        Plot("stability of the matching", pattern="match/.*"),
    ),
    "speed": (
        Plot(
            "seconds of a step", pattern="time/(data|forward|loss|backward_step)", settings=STACKED
        ),
        Plot("share of a step that waits for data", ("time/data_share",)),
        Plot("images per second", ("time/images_per_second",)),
        Plot("gradient norm by part", pattern="grad_norm/.*", settings={"log_y": True}),
        Plot("busy cores", ("system/cpu_share",), settings={"range_y": (0, 1)}),
        Plot("memory, GiB", pattern="system/.*_gib"),
    ),
}
"""section -> its panels; what else the runs log follows below, as W&B arranges it"""


def workspace(entity: str, project: str, view: str) -> Workspace:
    """The view, which nobody has yet; `save` sends it.

    Args:
        entity: a user or a team.
        project: of theirs.
        view: its name.

    Raises:
        MachineError: wandb-workspaces is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of its use of pydantic
            from wandb_workspaces import workspaces
    except ImportError as error:
        raise MachineError(
            "wandb_workspace needs the package wandb-workspaces, which is not installed; run "
            "pip install 'detbox[workspace]'"
        ) from error
    sections = [
        workspaces.Section(
            name, panels=[_panel(each, place) for place, each in enumerate(panels)], is_open=True
        )
        for name, panels in SECTIONS.items()
    ]
    settings = workspaces.WorkspaceSettings(x_axis=STEP, group_by_prefix="first")
    return workspaces.Workspace(
        entity, project, view, sections, settings, auto_generate_panels=True
    )


def saved(project: str, view: str, entity: str | None = None) -> str:
    """Save the view; gives its address.

    Args:
        project: on the server.
        view: its name.
        entity: a user or a team; None: whose API key it is.

    Raises:
        MachineError: the package, an API key, or an answer of the server is missing.
    """
    workspace("", project, view)  # what is missing here is said before anybody is asked
    import wandb

    from detbox.tracking.wandb_run import has_key

    if not has_key():
        raise MachineError("wandb_workspace needs an API key and found none; run `wandb login`")
    try:
        owner = entity or wandb.Api().default_entity
        whole: Any = workspace(str(owner), project, view)  # its `save` has no types
        return str(whole.save().url)
    except Exception as error:  # of many kinds, as with all of W&B
        server = os.environ.get("WANDB_BASE_URL", "W&B")
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise MachineError(
            f"the view is not saved, {server} says: {reason}; check the network, and that project "
            f"{project} is there (a run with logger=wandb makes it) and entity={entity} may write"
        ) from error


def _panel(each: Plot | Table, place: int) -> Any:
    from wandb_workspaces.reports import v2

    row, column = divmod(place, COLUMNS)
    layout = v2.Layout(column * WIDTH, row * HEIGHT, WIDTH, HEIGHT)
    if isinstance(each, Table):
        return v2.WeavePanelSummaryTable(table_name=each.name, layout=layout)
    return v2.LinePlot(
        title=each.title,
        x=STEP,
        y=list(each.metrics),
        metric_regex=each.pattern,
        layout=layout,
        **each.settings,
    )
