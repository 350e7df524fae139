"""Where a backbone's weights come from: a local file, the local cache, the model hub, or chance."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from urllib.parse import urlsplit

import torch
from huggingface_hub import constants, try_to_load_from_cache
from huggingface_hub.utils import get_session
from torch import nn

from detbox.backbones.extractors import create_body, published_weights
from detbox.backbones.files import load_file
from detbox.backbones.freezing import way_to_thaw
from detbox.backbones.own import OwnBackbone
from detbox.backbones.timm import TimmBackbone
from detbox.errors import DetboxError

PATIENCE = 1.0
"""seconds to wait for the model hub before it counts as out of reach"""

logger = logging.getLogger("detbox")


class WeightsUnavailableError(DetboxError, RuntimeError):
    """No pretrained weights where they are needed; the message says what to do."""


def load_pretrained(backbone: nn.Module, *, required: bool) -> str:
    """Fill a fresh backbone as its `weights` and `pretrained` settings say, and log one line.

    A local file goes first; `pretrained=false` keeps random weights; otherwise the local cache,
    then the hub. Backbones of other kinds stay as they are.

    Args:
        backbone: as a builder returned it.
        required: stop where no weights are found, rather than go on from random ones.

    Returns:
        The line that was logged; empty for other kinds of backbones.

    Raises:
        WeightsUnavailableError: nothing found, and `required` or `pretrained=true`.
        FileNotFoundError, ValueError: the weights file is absent, unreadable or of another model.
    """
    if not isinstance(backbone, (TimmBackbone, OwnBackbone)):
        return ""
    if backbone.weights_file:
        return _log(logging.INFO, load_file(backbone, backbone.weights_file))
    if backbone.pretrained == "false":
        line = f"backbone {backbone.model}: random weights (backbone.pretrained=false)"
        return _log(logging.INFO, line)
    try:
        if isinstance(backbone, OwnBackbone):
            raise WeightsUnavailableError("no hub is known to have them")
        return _log(logging.INFO, _load_published(backbone))
    except WeightsUnavailableError as error:
        if required or backbone.pretrained == "true":
            raise WeightsUnavailableError(
                f"backbone {backbone.model} needs pretrained weights, but {error}; give a local "
                f"file with backbone.weights=FILE, {_online(backbone)}or train from random "
                "weights with backbone.pretrained=false"
            ) from error
        return _log(logging.WARNING, _random_line(backbone, str(error)))


def _log(level: int, line: str) -> str:
    logger.log(level, line)
    return line


def _online(backbone: TimmBackbone | OwnBackbone) -> str:
    published = isinstance(backbone, TimmBackbone)
    return "go online once (the cache keeps them), " if published else ""


def _random_line(backbone: TimmBackbone | OwnBackbone, reason: str) -> str:
    line = f"backbone {backbone.model}: random weights, because {reason}"
    thawed = way_to_thaw(backbone)
    return line + (f"; they learn better with {thawed}" if thawed else "")


def _load_published(backbone: TimmBackbone) -> str:
    cached = _cached(backbone.model)
    if cached is None:
        _check_hub(backbone.model)
    settings = {"pretrained_cfg_overlay": {"file": str(cached)}} if cached else {}
    try:
        source = create_body(backbone.model, backbone.levels, pretrained=True, **settings)
    except Exception as error:  # timm and the hub's clients raise many unrelated kinds
        raise WeightsUnavailableError(
            f"loading them failed ({type(error).__name__}: {error})"
        ) from error
    backbone.body.load_state_dict(source.state_dict())
    return f"backbone {backbone.model}: weights from {cached or 'the model hub'}"


def _cached(model: str) -> Path | None:
    config = published_weights(model)
    if config.hf_hub_id:
        repository, _, revision = config.hf_hub_id.partition("@")
        names = [config.hf_hub_filename or "model.safetensors", "pytorch_model.bin"]
        for name in names:
            found = try_to_load_from_cache(repository, name, revision=revision or None)
            if isinstance(found, str):
                return Path(found)
    if config.url:
        name = Path(urlsplit(str(config.url)).path).name
        file = Path(torch.hub.get_dir(), "checkpoints", name)
        return file if file.is_file() else None
    return None


def _check_hub(model: str) -> None:
    config = published_weights(model)
    url = constants.ENDPOINT if config.hf_hub_id else str(config.url or "")
    if not url:
        raise WeightsUnavailableError("timm knows of none for this model")
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "TRUE", "YES"}:
        raise WeightsUnavailableError("the cache has none and HF_HUB_OFFLINE is set")
    if not _answers(url):
        host = urlsplit(url).netloc
        raise WeightsUnavailableError(f"the cache has none and {host} is out of reach")


def _answers(url: str) -> bool:
    # In a thread, because looking up a name knows no time limit; the hub's own session, because
    # it knows the user's proxies and certificates.
    answered = threading.Event()

    def ask() -> None:
        try:
            get_session().head(url, timeout=PATIENCE)
        except Exception:  # requests or httpx, depending on the hub's version
            return
        answered.set()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return answered.is_set()
