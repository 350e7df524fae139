"""Published weights of timm's models: the local cache, or the model hub."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import torch
from huggingface_hub import constants, try_to_load_from_cache
from huggingface_hub.utils import get_session
from torch import Tensor

from detbox.backbones.extractors import create_body, published_weights
from detbox.backbones.protocol import WeightsUnavailableError

PATIENCE = 1.0
"""seconds to wait for the model hub before it counts as out of reach"""


def published_tensors(model: str, levels: Sequence[int]) -> tuple[dict[str, Tensor], str]:
    """Tensors of a timm model's feature extractor, and where they were found.

    Raises:
        WeightsUnavailableError: there are none, or they are out of reach.
    """
    cached = _cached(model)
    if cached is None:
        _check_hub(model)
    settings = {"pretrained_cfg_overlay": {"file": str(cached)}} if cached else {}
    try:
        source = create_body(model, levels, pretrained=True, **settings)
    except Exception as error:  # timm and the hub's clients raise many unrelated kinds
        raise WeightsUnavailableError(
            f"loading them failed ({type(error).__name__}: {error})"
        ) from error
    return source.state_dict(), str(cached or "the model hub")


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
