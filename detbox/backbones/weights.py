"""Where a backbone's weights come from: a local file, the local cache, the model hub, or chance."""

from __future__ import annotations

import logging

from torch import nn

from detbox.backbones.files import load_file
from detbox.backbones.freezing import way_to_thaw
from detbox.backbones.protocol import WeightsUnavailableError, described

__all__ = ["WeightsUnavailableError", "load_pretrained"]

logger = logging.getLogger("detbox")


def load_pretrained(backbone: nn.Module, *, required: bool, weights: str | None = None) -> str:
    """Fill a fresh backbone as its `weights` and `pretrained` settings say, and log one line.

    A local file goes first; `pretrained=false` keeps random weights; otherwise the local cache,
    then where the backbone says. A module that does not say keeps what its builder gave it.

    Args:
        backbone: as a builder returned it.
        required: stop where no weights are found, rather than go on from random ones.
        weights: local file for a module that does not know its own.

    Returns:
        The line that was logged.

    Raises:
        WeightsUnavailableError: nothing found, and `required` or `pretrained=true`.
        FileNotFoundError, ValueError: the weights file is absent, unreadable or of another model.
    """
    own = described(backbone)
    if file := own.weights_file or weights:
        return _log(logging.INFO, load_file(own, file))
    if own.pretrained == "false":
        line = f"backbone {own.model}: random weights (backbone.pretrained=false)"
        return _log(logging.INFO, line)
    try:
        return _log(logging.INFO, f"backbone {own.model}: weights from {own.fetch()}")
    except WeightsUnavailableError as error:
        if required or own.pretrained == "true":
            online = "go online once (the cache keeps them), " if own.published else ""
            raise WeightsUnavailableError(
                f"backbone {own.model} needs pretrained weights, but {error}; give a local "
                f"file with backbone.weights=FILE, {online}or train from random "
                "weights with backbone.pretrained=false"
            ) from error
        line = f"backbone {own.model}: random weights, because {error}"
        thawed = way_to_thaw(backbone)
        line += f"; they learn better with {thawed}" if thawed else ""
        return _log(logging.WARNING, line)


def _log(level: int, line: str) -> str:
    logger.log(level, line)
    return line
