"""The best checkpoint as an artifact of a W&B run."""

from __future__ import annotations

import logging
import math
import shlex
from pathlib import Path

import wandb

log = logging.getLogger(__name__)


def keep_artifact(run: wandb.Run, file: Path, seconds: float) -> None:
    """Upload a file as the model of a run, or say what to type where that fails.

    Its name is `detector-ID` with the ID of the run, its alias `best`. What a run that went on made
    better is the next version. Offline it is noted in the run's file, and `wandb sync` uploads it.

    Args:
        run: that goes on; one that is disabled keeps nothing.
        file: weights alone, from which a detector can be built.
        seconds: to wait for the upload.
    """
    if run.disabled:
        return
    name = f"detector-{run.id}"
    if not file.is_file():
        log.warning(
            "W&B: logger.upload_best found no %s; it is written where validations have an AP", file
        )
        return
    try:
        artifact = wandb.Artifact(name, "model")
        # As it lies there: a copy would fill the disk of whoever has a small home folder.
        artifact.add_file(str(file), policy="immutable")
        logged = run.log_artifact(artifact, aliases=["best"])
        if not run.offline:
            logged.wait(timeout=math.ceil(seconds))
    except Exception as error:  # of many kinds, as with all of W&B
        again = f"wandb artifact put --type model --name {name} --alias best"
        log.warning(
            "W&B: %s is not uploaded (%s); `%s %s` does it",
            *(file.name, str(error).splitlines()[0], again, shlex.quote(str(file))),
        )
        return
    log.info("W&B: %s is the artifact %s:best", file.name, name)
