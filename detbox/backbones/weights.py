"""Where a backbone's weights come from: a local file, the local cache, the model hub, or chance."""

from __future__ import annotations

import logging

from torch import nn

from detbox.backbones.files import load_file
from detbox.backbones.freezing import way_to_thaw
from detbox.backbones.protocol import BackboneModule, WeightsUnavailableError, described

__all__ = ["WeightsUnavailableError", "load_pretrained"]

logger = logging.getLogger("detbox")


def load_pretrained(backbone: nn.Module, *, required: bool, weights: str | None = None) -> str:
    """Fill a fresh backbone as its `weights` and `pretrained` settings say, and log one line.

    A local file goes first; `pretrained=false` keeps random weights; otherwise the local cache,
    then where the backbone says. A plain module reads `weights` alone, else it stays as it is.

    Args:
        backbone: as a builder returned it.
        required: stop where no weights are found, rather than go on from random ones.
        weights: local file for a plain module, which has no settings of its own.

    Returns:
        The line that was logged; empty for a plain module without a file.

    Raises:
        WeightsUnavailableError: nothing found, and `required` or `pretrained=true`.
        FileNotFoundError, ValueError: the weights file is absent, unreadable or of another model.
    """
    own = described(backbone, weights)
    if own.weights_file:
        return _log(logging.INFO, load_file(own, own.weights_file))
    return _from_elsewhere(own, required) if own is backbone else ""


def _from_elsewhere(backbone: BackboneModule, required: bool) -> str:
    if backbone.pretrained == "false":
        line = f"backbone {backbone.model}: random weights (backbone.pretrained=false)"
        return _log(logging.INFO, line)
    try:
        return _log(logging.INFO, f"backbone {backbone.model}: weights from {backbone.fetch()}")
    except WeightsUnavailableError as error:
        if required or backbone.pretrained == "true":
            online = "go online once (the cache keeps them), " if backbone.published else ""
            raise WeightsUnavailableError(
                f"backbone {backbone.model} needs pretrained weights, but {error}; give a local "
                f"file with backbone.weights=FILE, {online}or train from random "
                "weights with backbone.pretrained=false"
            ) from error
        return _log(logging.WARNING, _random_line(backbone, str(error)))


def _log(level: int, line: str) -> str:
    logger.log(level, line)
    return line


def _random_line(backbone: BackboneModule, reason: str) -> str:
    line = f"backbone {backbone.model}: random weights, because {reason}"
    thawed = way_to_thaw(backbone)
    return line + (f"; they learn better with {thawed}" if thawed else "")
